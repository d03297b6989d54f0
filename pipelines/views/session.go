package views

import (
	"database/sql/driver"
	"errors"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
)

// sessionName is the window that ends where no record of its group follows for a while: session(ts, gap) is the time of
// its first record. A key of GROUP BY only.
const sessionName = "session"

// session is the State of a grouping by session: of each stretch of records no further apart than the gap, the first and
// the last time. Stretches that a part cut, or that a late record joins, become one when parts are merged.
type session struct {
	start, stop *column
	gap         string
}

func isSession(e node) bool {
	return class(e) == "FUNCTION" && strings.EqualFold(str(e, "function_name"), sessionName) && len(list(e, "children")) == 2
}

// fuse makes the last of the group keys, a session, a stretch of time.
func (g *grouper) fuse() error {
	args := nodes(list(g.keys[len(g.keys)-1], "children"))
	at, err := g.c.printExpr(args[0])
	if err != nil {
		return err
	}
	s := &session{}
	if s.gap, err = g.c.printExpr(args[1]); err != nil {
		return err
	}
	switch {
	case hasColumn(args[1]):
		return blocked("the gap of a session is no constant")
	case g.sets != nil:
		return blocked("sessions under ROLLUP, CUBE and GROUPING SETS are computed over all rows")
	}
	s.start, s.stop = g.newState(), g.newState()
	s.start.text, s.start.merge = at, "min("+s.start.name+")"
	s.stop.text, s.stop.merge = at, "max("+s.stop.name+")"
	g.main.states = []*column{s.start, s.stop}
	g.note("session: the first and last time of each stretch is kept; stretches that lie close enough become one")
	g.main.fuse = s
	return nil
}

// islands numbers the stretches that belong together, within each group, as the column island.
func (s *session) islands(g *grouping, from string) string {
	by := s.start.name + " IS NULL"
	for _, k := range g.keys {
		by += ", " + k.name
	}
	window := "(PARTITION BY " + by + " ORDER BY " + s.start.name + ", " + s.stop.name + " ROWS "
	return "(SELECT *, sum(fresh) OVER " + window + "UNBOUNDED PRECEDING) AS island FROM (SELECT *, CASE WHEN " + s.start.name + " IS NULL OR " +
		s.start.name + " <= max(" + s.stop.name + ") OVER " + window + "BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) + " + s.gap + " THEN 0 ELSE 1 END AS fresh FROM " + from + "))"
}

// sessionFunc stands for session(ts, gap) where SQL is only bound: no plan calls it.
type sessionFunc struct{ config duckdb.ScalarFuncConfig }

func (f sessionFunc) Config() duckdb.ScalarFuncConfig { return f.config }

func (f sessionFunc) Executor() duckdb.ScalarFuncExecutor {
	return duckdb.ScalarFuncExecutor{RowExecutor: func([]driver.Value) (any, error) {
		return nil, errors.New("session(...) is a group key of a view, nothing else")
	}}
}

// declareSession makes the compiler's engine know session(ts, gap) and its type, which is that of ts.
func (c *Compiler) declareSession() error {
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
	return duckdb.RegisterScalarUDFSet(c.conn, sessionName, funcs...)
}
