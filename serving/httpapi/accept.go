package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// format is how an answer is written.
type format string

// The formats, in the order in which they are preferred where a client takes several alike.
const (
	formatJSON    format = "application/json"
	formatCSV     format = "text/csv"
	formatNDJSON  format = "application/x-ndjson"
	formatArrow   format = "application/vnd.apache.arrow.stream"
	formatParquet format = "application/vnd.apache.parquet"
)

var formats = []format{formatJSON, formatCSV, formatNDJSON, formatArrow, formatParquet}

// aliases are other names that clients use.
var aliases = map[string]format{
	"application/ndjson": formatNDJSON, "application/jsonl": formatNDJSON, "application/x-jsonlines": formatNDJSON,
	"application/parquet": formatParquet, "application/x-parquet": formatParquet, "application/csv": formatCSV,
}

// accepted picks the format a client likes best; without an Accept it is JSON. Errors: a 406 problem.
func accepted(header []string) (format, error) {
	text := strings.Join(header, ",")
	if strings.TrimSpace(text) == "" {
		return formatJSON, nil
	}
	best, weight := format(""), 0.0
	consider := func(f format, q float64) {
		if q > weight {
			best, weight = f, q
		}
	}
	for item := range strings.SplitSeq(text, ",") {
		name, parameters, _ := strings.Cut(item, ";")
		name, q := strings.ToLower(strings.TrimSpace(name)), 1.0
		for p := range strings.SplitSeq(parameters, ";") {
			if v, ok := strings.CutPrefix(strings.ReplaceAll(p, " ", ""), "q="); ok {
				q, _ = strconv.ParseFloat(v, 64)
			}
		}
		if f, ok := aliases[name]; ok {
			name = string(f)
		}
		for _, f := range formats {
			kind, _, _ := strings.Cut(string(f), "/")
			switch name {
			case string(f):
				consider(f, q)
			case kind + "/*":
				consider(f, q*0.999)
			case "*/*":
				consider(f, q*0.998)
			}
		}
	}
	if best == "" {
		names := make([]string, len(formats))
		for i, f := range formats {
			names[i] = string(f)
		}
		return "", &problem{Status: http.StatusNotAcceptable, Detail: fmt.Sprintf("no answer can be given as %s", text), Hint: "accept one of " + strings.Join(names, ", ")}
	}
	return best, nil
}
