package engine

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// NotStarted is the Problem of a DuckDB that does not start.
func NotStarted(err error) error {
	return &schemas.Problem{Kind: schemas.Environment, Message: "the SQL engine did not start", Hint: "run `millrace doctor`", Err: err}
}

func notParsed(s tree.Source, parsed tree.Node, part string, from int) error {
	message := parsed.Str("error_message")
	if strings.Contains(message, "Only SELECT") {
		return notSelect(s, part, from)
	}
	at := -1
	if n, err := strconv.Atoi(fmt.Sprint(parsed["position"])); err == nil {
		at = from + tree.ByteOffset(part, n)
	}
	if strings.TrimSpace(part) == "" {
		at, message = max(from, 0), "there is no SELECT here"
	}
	return s.Wrong(at, message, "correct the SQL; it is DuckDB's dialect")
}

// Error is DuckDB's error as its errors_as_json setting gives it.
type Error struct {
	subtype, Message, Name, Candidates string
	Position                           int // -1: none
}

// ErrorOf reads an error of DuckDB; of another one the message is all there is.
func ErrorOf(err error) Error {
	text := err.Error()
	var fields map[string]string
	if i := strings.IndexByte(text, '{'); i >= 0 && json.Unmarshal([]byte(text[i:]), &fields) == nil {
		e := Error{subtype: fields["error_subtype"], Message: fields["exception_message"],
			Name: fields["name"], Candidates: fields["candidates"], Position: -1}
		if n, err := strconv.Atoi(fields["position"]); err == nil {
			e.Position = n
		}
		return e
	}
	return Error{Message: text, Position: -1}
}

// verbs are what people try and what to do instead, by the statement's first word.
var verbs = map[string]string{
	"copy": "use `millrace query -o FILE` to write an answer to a file", "export": "use `millrace query -o FILE` to write an answer to a file",
	"attach": "put the table into reference/ as CSV, Parquet or NDJSON", "install": "no extension can be installed; json, parquet and icu are built in",
	"load": "no extension can be loaded; json, parquet and icu are built in", "set": "settings are fixed; the time zone is UTC",
	"reset": "settings are fixed; the time zone is UTC", "pragma": "settings are fixed; the time zone is UTC",
	"create": "put a SELECT into views/NAME.sql to keep it, macros into views/_macros.sql", "insert": "use `millrace ingest TOPIC` to add records",
	"update": "records are never changed; a view can hold the rule instead", "delete": "records are never deleted by a query",
	"drop": "delete the view's or topic's file", "alter": "edit the topic's file", "explain": "use `millrace query --explain`",
	"import": "use `millrace ingest TOPIC FILE`",
	"call":   "ask with a SELECT over topics, views and reference tables", "use": "write schema.table: rejects.TOPIC, batch.VIEW, speed.VIEW",
}

func notSelect(s tree.Source, part string, from int) error {
	word := strings.ToLower(firstWord(part))
	for _, t := range tree.Lex(part) {
		if hint, known := verbs[word]; known {
			return s.Wrong(from+t.From, fmt.Sprintf("%s is not allowed, only SELECT is", strings.ToUpper(word)), hint)
		}
		if t.IsWord("PIVOT") || t.IsWord("PIVOT_WIDER") {
			return s.Wrong(from+t.From, "PIVOT without IN has columns that hang on the data", "list them: PIVOT topic ON kind IN ('a', 'b') USING sum(x) GROUP BY g")
		}
	}
	return s.Wrong(max(from, 0), "this is not one SELECT", "write one SELECT and no other statement")
}

// firstWord skips white space and comments, only to name the statement in a message.
func firstWord(text string) string {
	for {
		text = strings.TrimSpace(text)
		switch {
		case strings.HasPrefix(text, "--"):
			_, text, _ = strings.Cut(text, "\n")
		case strings.HasPrefix(text, "/*"):
			_, text, _ = strings.Cut(text, "*/")
		default:
			i := strings.IndexFunc(text, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') })
			if i < 0 {
				i = len(text)
			}
			return text[:i]
		}
	}
}

var noSuchColumn = regexp.MustCompile(`^(?:Table|Values list) "(.*)" does not have a column named "(.*)"`)

// Problem is the Problem of what is wrong with a SELECT at a place in it, -1 for none. columns are those it may have meant.
func (e Error) Problem(s tree.Source, at int, columns []string) error {
	message, hint := e.FirstLine(), "correct the SQL; it is DuckDB's dialect"
	switch {
	case e.Name != "" && (e.subtype == "COLUMN_NOT_FOUND" || strings.Contains(message, "not found in FROM clause")):
		message = fmt.Sprintf("there is no column %q", e.Name)
		hint = "the columns are " + strings.Join(columns, ", ")
		if near := schemas.Nearest(e.Name, columns); near == e.Name {
			hint = "a table has it, but it is not in FROM here, or a SELECT in FROM leaves it out"
		} else if near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
	case noSuchColumn.MatchString(message): // of a table that is named before it
		names := noSuchColumn.FindStringSubmatch(message)
		message, hint = fmt.Sprintf("%s has no column %q", names[1], names[2]), "see its columns with `millrace validate -v`"
		if near := schemas.Nearest(names[2], columns); near != "" && near != names[2] {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
	case e.subtype == "MISSING_ENTRY" && strings.HasPrefix(message, "Type with name"):
		message, hint = fmt.Sprintf("there is no type %s", e.Name), "types are DuckDB's"
	case e.subtype == "MISSING_ENTRY" && strings.HasPrefix(message, "Table with name"):
		message, hint = fmt.Sprintf("there is no table %q", e.Name), "topics, views and reference tables are read by name"
	case e.subtype == "MISSING_ENTRY" && e.Name != "":
		message = fmt.Sprintf("there is no function %s", e.Name)
		hint = "functions are DuckDB's"
		if near := schemas.Nearest(e.Name, s.Macros); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		} else if near, _, _ := strings.Cut(e.Candidates, ","); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
	case e.subtype == "NO_MATCHING_FUNCTION":
		message = strings.TrimSuffix(message, " You might need to add explicit type casts.")
		hint = "cast the argument to a type the function takes"
	case strings.Contains(message, "must appear in the GROUP BY"):
		hint = "add it to GROUP BY, or put an aggregate around it"
	case strings.HasPrefix(message, "Cannot extract field"):
		hint = "a column comes before a table of the same name: give the table another, FROM ... AS name"
	case strings.HasPrefix(message, "Conflicting column names"):
		hint = "a column has the name of a parameter: give the parameter another"
	case strings.HasPrefix(message, "UNNEST not supported"):
		hint = "put it into FROM: FROM topic, unnest(list) AS u(item)"
	}
	return s.Wrong(at, message, hint)
}

// FirstLine is the message without the rest of it that shows the SQL.
func (e Error) FirstLine() string { l, _, _ := strings.Cut(e.Message, "\n"); return l }
