package serving

import (
	"cmp"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// wanted is which of a view's state rows a question wants: a condition in SQL that they fulfil, and the first key's value if
// it is known. State rows are sorted by their keys, so that value finds them without looking at the others. The zero value
// wants all.
type wanted struct {
	where string
	first *views.Equal
}

// wantedOf is what a question demands of a view's rows as something that can be asked of its state rows. A row that the
// condition fails on is wanted: whether it fails the question is the question's to say.
func wantedOf(v *views.View, equals []views.Equal) (w wanted) {
	var all []string
	for _, e := range equals {
		key, ok := v.KeyColumns[e.Column]
		if !ok {
			continue
		}
		all = append(all, fmt.Sprintf("coalesce(TRY(%s = %s), true)", schemas.QuoteIdent(key), e.Value))
		if key == v.State[0].Name {
			w.first = &e
		}
	}
	w.where = strings.Join(all, " AND ")
	return w
}

// narrow keeps of slices' rows a stretch that has all rows with the first key's value, where that can be seen from the
// value and the column. Ownership: it takes the rows over; the caller releases what it gives.
func (w *wanted) narrow(rows []arrow.RecordBatch) []arrow.RecordBatch {
	if w.first == nil {
		return rows
	}
	var out []arrow.RecordBatch
	for _, b := range rows {
		compare := comparison(b.Column(0), w.first.Value)
		if compare == nil {
			b.Retain()
			out = append(out, b)
			continue
		}
		// NULL is the last.
		n := b.Column(0).Len() - b.Column(0).NullN()
		from := sort.Search(n, func(i int) bool { return compare(i) >= 0 })
		to := from + sort.Search(n-from, func(i int) bool { return compare(from+i) > 0 })
		if from == to {
			continue
		}
		cut, err := slicelog.CutRows(b, from, to)
		if err != nil { // of a type that cannot be cut
			b.Retain()
			cut = b
		}
		out = append(out, cut)
	}
	slicelog.ReleaseRows(rows)
	return out
}

// comparison compares a column's values with a constant in SQL, in the order that state rows are sorted in; nil: it is of
// a type, or written in a way, that is not looked at here.
func comparison(column arrow.Array, constant string) func(i int) int {
	switch c := column.(type) {
	case *array.String:
		if len(constant) < 2 || constant[0] != '\'' || constant[len(constant)-1] != '\'' {
			return nil
		}
		text := constant[1 : len(constant)-1]
		if strings.Contains(strings.ReplaceAll(text, "''", ""), "'") { // it is an expression
			return nil
		}
		text = strings.ReplaceAll(text, "''", "'")
		return func(i int) int { return strings.Compare(c.Value(i), text) }
	case *array.Int32:
		return integers(constant, func(i int) int64 { return int64(c.Value(i)) })
	case *array.Int64:
		return integers(constant, c.Value)
	}
	return nil
}

func integers(constant string, value func(i int) int64) func(i int) int {
	n, err := strconv.ParseInt(constant, 10, 64)
	if err != nil {
		return nil
	}
	return func(i int) int { return cmp.Compare(value(i), n) }
}
