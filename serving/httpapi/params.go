package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
)

// question is the body of POST /v1/query.
type question struct {
	SQL    string          `json:"sql"`
	AsOf   json.RawMessage `json:"as_of"`
	Params json.RawMessage `json:"params"` // an object, for $name, or a list, for $1 or ?
}

// parseQuestion reads the body strictly: a key that is not known is an error that names the nearest one.
func parseQuestion(body []byte) (serving.Request, error) {
	var q question
	if err := strictly(body, &q); err != nil {
		return serving.Request{}, err
	}
	if strings.TrimSpace(q.SQL) == "" {
		return serving.Request{}, badRequest("there is no sql", `send {"sql": "SELECT ..."}`)
	}
	if strings.ContainsRune(q.SQL, 0) {
		return serving.Request{}, badRequest("the sql has a NUL character", "take it out")
	}
	asOf, err := parseAsOf(q.AsOf)
	if err != nil {
		return serving.Request{}, err
	}
	params, err := parseParams(q.Params)
	return serving.Request{SQL: q.SQL, AsOf: asOf, Params: params}, err
}

func strictly(body []byte, q *question) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(q)
	if err == nil {
		if _, more := d.Token(); more == io.EOF {
			return nil
		}
		return badRequest("there is more than one JSON object", "send one question a request")
	}
	hint := `send {"sql": "SELECT ...", "as_of": ..., "params": {...}}`
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name, _ = strconv.Unquote(name)
		if near := schemas.Nearest(name, []string{"sql", "as_of", "params"}); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
		return badRequest(fmt.Sprintf("there is no key %q in a question", name), hint)
	}
	return badRequest("the question is not JSON of its shape: "+strings.TrimPrefix(err.Error(), "json: "), hint)
}

// parseAsOf reads a time as text, offsets as an object, or a certificate, also one that is written in a text.
func parseAsOf(raw json.RawMessage) (*serving.AsOf, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	text := []byte(raw)
	if raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, badRequest("as_of: "+err.Error(), "give a time, offsets or a certificate")
		}
		text = []byte(s)
	}
	return serving.ParseAsOf(text)
}

func parseParams(raw json.RawMessage) (map[string]string, error) {
	values := map[string]json.RawMessage{}
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil, nil
	case raw[0] == '[':
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, badRequest("params: "+err.Error(), "")
		}
		for i, v := range list {
			values[strconv.Itoa(i+1)] = v
		}
	case raw[0] != '{' || json.Unmarshal(raw, &values) != nil:
		return nil, badRequest("params is not an object", `write {"name": value} for $name, or a list for $1, $2`)
	}
	out := map[string]string{}
	for name, v := range values {
		text, err := constant(v)
		if err != nil {
			return nil, badRequest(fmt.Sprintf("the value of $%s %s", name, err), "give a text, a number, true, false or null; write 'text'::DATE in the SQL as $name::DATE")
		}
		out[name] = text
	}
	return out, nil
}

// constant writes a JSON value as one constant of SQL. Whatever a text holds, it stays one text.
func constant(raw json.RawMessage) (string, error) {
	switch raw[0] {
	case '{', '[':
		return "", fmt.Errorf("is not one value")
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", err
		}
		if strings.ContainsRune(s, 0) {
			return "", fmt.Errorf("has a NUL character")
		}
		return "'" + strings.ReplaceAll(s, "'", "''") + "'", nil
	}
	return string(raw), nil // a number, true, false or null: JSON's are SQL's
}
