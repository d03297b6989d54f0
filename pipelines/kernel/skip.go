package kernel

import (
	"errors"
	"slices"
	"strings"

	duckdb "github.com/duckdb/duckdb-go/v2"
)

// ofRecords are the kinds of error that a record's values cause: the same records cause them again, in any layer.
var ofRecords = []duckdb.ErrorType{
	duckdb.ErrorTypeOutOfRange, duckdb.ErrorTypeConversion, duckdb.ErrorTypeInvalidInput, duckdb.ErrorTypeMismatchType, duckdb.ErrorTypeDivideByZero,
}

// OfRecords says whether an error is what a view's SQL comes to on the records. A shortage of memory or disk, or an
// interrupt, is not: it says nothing about the view.
func OfRecords(err error) bool {
	var known *duckdb.Error
	return errors.As(err, &known) && slices.Contains(ofRecords, known.Type)
}

// OutOfMemory says whether an error is that the engine has not the memory, or the disk to spill to, that a statement wants.
func OutOfMemory(err error) bool {
	var known *duckdb.Error
	return errors.As(err, &known) && known.Type == duckdb.ErrorTypeOutOfMemory
}

func (k *Kernel) skips(err error) bool { return k.spec.Skip != nil && OfRecords(err) }

// Sentence is what DuckDB says in an error that is its own, in one line; else the error's text.
func Sentence(err error) string {
	text := err.Error()
	if known := (*duckdb.Error)(nil); errors.As(err, &known) {
		text = known.Msg
	}
	line, _, _ := strings.Cut(text, "\n")
	return line
}
