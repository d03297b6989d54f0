package views

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// clockWords are written without parentheses and are the clock or the session, unless a column has the name.
var clockWords = map[string]bool{
	"current_date": true, "current_timestamp": true, "current_time": true, "localtime": true, "localtimestamp": true,
	"current_localtime": true, "current_localtimestamp": true, "current_user": true, "session_user": true, "user": true,
	"current_role": true, "current_schema": true, "current_catalog": true,
}

// notRepeatable are functions that DuckDB calls consistent, or that are macros, but whose value is of the moment or of
// the session.
var notRepeatable = map[string]bool{
	"ago": true, "current_setting": true, "getvariable": true, "getenv": true, "current_user": true, "session_user": true,
	"user": true, "current_role": true, "current_catalog": true, "version": true, "pg_conf_load_time": true,
	"pg_postmaster_start_time": true, "pg_sleep": true, "current_localtime": true, "current_localtimestamp": true,
	"get_block_size": true, "stats": true, "reservoir_quantile": true,
}

// forbidden are functions that no query may call: they read the machine or the session, or change or stall it.
var forbidden = map[string]string{
	"getenv": "reads the environment", "current_setting": "reads a setting", "getvariable": "reads a session variable",
	"setseed": "changes the session", "write_log": "writes a log", "nextval": "changes a sequence", "currval": "reads a sequence",
	"sleep_ms": "only waits", "pg_sleep": "only waits", "current_query": "reads the session", "get_block_size": "reads the database file",
	"query": "runs SQL out of sight", "query_table": "reads tables out of sight", "json_execute_serialized_sql": "runs SQL out of sight",
}

// tableFunctions may stand in FROM: they read no file, no catalog and no setting.
var tableFunctions = map[string]bool{
	"unnest": true, "range": true, "generate_series": true, "repeat": true, "json_each": true, "json_tree": true,
	"regexp_split_to_table": true, "generate_subscripts": true,
}

// Words whose nodes DuckDB gives no place; they name a place in a message and decide nothing.
var (
	showWord   = regexp.MustCompile(`(?i)\b(DESCRIBE|DESC|SUMMARIZE|SHOW)\b`)
	sampleWord = regexp.MustCompile(`(?i)\b(USING\s+SAMPLE|TABLESAMPLE)\b`)
	parameter  = regexp.MustCompile(`\$\w+|\?`)
)

// checkFunctions refuses what no query may do and, for a view, what would not give the same answer twice.
func checkFunctions(duck *engine.Conn, src tree.Source, query tree.Node, view bool) error {
	return checkCalls(duck, src, query, view, func(string) bool { return false })
}

// checkCalls is checkFunctions for a text that may read macros in FROM.
func checkCalls(duck *engine.Conn, src tree.Source, query tree.Node, view bool, isMacro func(name string) bool) error {
	var problem error
	refuse := func(n tree.Node, message, hint string) bool {
		if problem == nil {
			problem = src.Wrong(n.Location(), message, hint)
		}
		return false
	}
	tree.Walk(query, func(n tree.Node) bool {
		if problem != nil {
			return false
		}
		if n["sample"] != nil && view {
			problem = src.Wrong(src.Find(sampleWord), "a view may not sample: its answer must be the same each time", "remove SAMPLE; a WHERE on hash(_offset) % 100 picks the same records each time")
			return false
		}
		switch n.Str("type") {
		case "SHOW_REF":
			problem = src.Wrong(src.Find(showWord), "DESCRIBE, SUMMARIZE and SHOW are not allowed, only SELECT is", "`millrace validate -v` shows topics and views with their columns")
			return false
		case "TABLE_FUNCTION":
			fn := n.Sub("function")
			name := strings.ToLower(fn.Str("function_name"))
			if tableFunctions[name] || isMacro(name) {
				return true
			}
			if near := schemas.Nearest(name, src.Macros); near != "" && !duck.HasFunction(name) {
				return refuse(fn, fmt.Sprintf("there is no function %s", name), fmt.Sprintf("did you mean %s?", near))
			}
			return refuse(fn, fmt.Sprintf("%s() may not be read here", name), "read topics, views and reference tables by name; files go into reference/ or through `millrace ingest`")
		}
		if n.Str("type") == "VALUE_PARAMETER" && view {
			problem = src.Wrong(src.Find(parameter), "a view has no parameters", "write the value into the SELECT, or filter when you query the view")
			return false
		}
		if n.Class() != "FUNCTION" && n.Class() != "WINDOW" {
			return true
		}
		name := strings.ToLower(n.Str("function_name"))
		if why, ok := forbidden[name]; ok {
			return refuse(n, fmt.Sprintf("%s() is not allowed: it %s", name, why), "remove it")
		}
		if !view && name == engine.SessionName {
			return refuse(n, "session() is for views", "write the SELECT into views/NAME.sql and ask for NAME")
		}
		if view && changes(duck, n, name) {
			return refuse(n, fmt.Sprintf("%s() has another value at each call, so a view may not use it", name), "use the event time or _timestamp (append time) of the record; a query over the view may call it")
		}
		return true
	})
	return problem
}

func changes(duck *engine.Conn, n tree.Node, name string) bool {
	if name == "error" {
		return false
	}
	return duck.IsVolatile(name) || notRepeatable[name] || name == "age" && len(n.List("children")) == 1
}

// checkRowID refuses rowid: DuckDB gives one to every table of its own, and it says nothing of a record's place. known
// says whether any table read has such a column.
func checkRowID(src tree.Source, query tree.Node, known func(string) bool) error {
	var problem error
	named := known("rowid") // or an alias in the query itself
	tree.Walk(query, func(n tree.Node) bool {
		named = named || strings.EqualFold(n.Str("alias"), "rowid")
		if names := n.ColumnNames(); n.Class() == "COLUMN_REF" && problem == nil && strings.EqualFold(names[len(names)-1], "rowid") {
			problem = src.Wrong(n.Location(), "rowid is no column here", "a record's place is _partition and _offset")
		}
		return true
	})
	if named {
		return nil
	}
	return problem
}

// checkNames refuses a view of which two columns have one name: it is a table, and a question could not tell them apart.
func checkNames(src tree.Source, columns []Column) error {
	seen := map[string]bool{}
	for _, c := range columns {
		name := strings.ToLower(c.Name)
		if seen[name] {
			return src.Wrong(0, "two of its columns are named "+c.Name, "name one of them anew with AS")
		}
		seen[name] = true
	}
	return nil
}

// checkTypes refuses a view with a column whose type has no text, which is a struct of fields without names: no table has one.
func checkTypes(duck *engine.Conn, src tree.Source, columns []Column) error {
	for _, c := range columns {
		if !strings.Contains(c.Type, "STRUCT(") {
			continue
		}
		if _, err := duck.Describe("SELECT CAST(NULL AS " + c.Type + ")"); err != nil {
			return src.Wrong(0, "the fields of its column "+c.Name+" have no names: "+c.Type, "write {'a': 1, 'b': 2} in place of (1, 2)")
		}
	}
	return nil
}

// checkClockWords refuses CURRENT_DATE and its like in a view; known says whether any table read has such a column.
func checkClockWords(src tree.Source, query tree.Node, known func(string) bool) error {
	var problem error
	tree.Walk(query, func(n tree.Node) bool {
		if n.Class() == "COLUMN_REF" && problem == nil {
			names := n.ColumnNames()
			if word := strings.ToLower(names[0]); len(names) == 1 && clockWords[word] && !known(word) {
				problem = src.Wrong(n.Location(), strings.ToUpper(word)+" has another value at another time, so a view may not use it",
					"use the event time or _timestamp (append time) of the record; a query over the view may use it")
			}
		}
		return problem == nil
	})
	return problem
}

// unknownTable is the Problem of a table that nobody declared.
func unknownTable(s tree.Source, n tree.Node, known []string, kinds string) error {
	name := n.Str("table_name")
	if schema := n.Str("schema_name"); schema != "" {
		name = schema + "." + name
	}
	if catalog := n.Str("catalog_name"); catalog != "" {
		name = catalog + "." + name
	}
	if n["at_clause"] != nil {
		return s.Wrong(n.Location(), "AT is not supported", "use `millrace query --as-of`")
	}
	hint := "known are " + strings.Join(known, ", ")
	if len(known) == 0 {
		hint = "put a topic into topics/NAME.yaml"
	}
	switch near := schemas.Nearest(name, known); {
	case strings.ContainsAny(name, "./*") && looksLikeFile(name):
		return s.Wrong(n.Location(), fmt.Sprintf("the file %q may not be read here", name), "put it into reference/ and use its name without the ending, or `millrace ingest` it into a topic")
	case near != "":
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	return s.Wrong(n.Location(), fmt.Sprintf("there is no %s %q", kinds, name), hint)
}

func looksLikeFile(name string) bool {
	if strings.Contains(name, "/") || strings.Contains(name, "*") {
		return true
	}
	lower := strings.ToLower(name)
	return slices.ContainsFunc([]string{".parquet", ".csv", ".tsv", ".json", ".ndjson", ".jsonl", ".gz", ".zst", ".db", ".duckdb", ".txt"}, func(end string) bool {
		return strings.HasSuffix(lower, end)
	})
}
