package engine

import (
	"database/sql/driver"
	"errors"

	"github.com/duckdb/duckdb-go/v2"
)

// SessionName is the window that ends where no record of its group follows for a while: session(ts, gap) is the time of
// its first record. A key of GROUP BY only.
const SessionName = "session"

// sessionFunc stands for session(ts, gap) where SQL is only bound: no plan calls it.
type sessionFunc struct{ config duckdb.ScalarFuncConfig }

// Config is part of duckdb.ScalarFunc.
func (f sessionFunc) Config() duckdb.ScalarFuncConfig { return f.config }

// Executor is part of duckdb.ScalarFunc.
func (f sessionFunc) Executor() duckdb.ScalarFuncExecutor {
	return duckdb.ScalarFuncExecutor{RowExecutor: func([]driver.Value) (any, error) {
		return nil, errors.New("session(...) is a group key of a view, nothing else")
	}}
}

// declareSession makes the compiler's engine know session(ts, gap) and its type, which is that of ts.
func (c *Conn) declareSession() error {
	var funcs []duckdb.ScalarFunc
	for _, t := range []duckdb.Type{duckdb.TYPE_TIMESTAMP, duckdb.TYPE_TIMESTAMP_TZ} {
		ts, err := duckdb.NewTypeInfo(t)
		if err != nil {
			return err
		}
		gap, err := duckdb.NewTypeInfo(duckdb.TYPE_INTERVAL)
		if err != nil {
			return err
		}
		funcs = append(funcs, sessionFunc{duckdb.ScalarFuncConfig{InputTypeInfos: []duckdb.TypeInfo{ts, gap}, ResultTypeInfo: ts}})
	}
	return duckdb.RegisterScalarUDFSet(c.conn, SessionName, funcs...)
}
