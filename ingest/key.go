package ingest

import (
	"bytes"
	"encoding/json"
)

// keyOf finds the value of a top-level field in a JSON object as text: a string's content, else the value as it is
// written. It is nil if the payload is no object, or the field is missing or null. A payload that is broken after the
// field may still give its key; what matters is that equal payloads give equal keys.
//
// Ownership: the key may point into the payload.
func keyOf(payload []byte, field string) []byte {
	i := space(payload, 0)
	if i >= len(payload) || payload[i] != '{' {
		return nil
	}
	i++
	for {
		i = space(payload, i)
		if i >= len(payload) || payload[i] != '"' {
			return nil
		}
		end := stringEnd(payload, i)
		if end < 0 {
			return nil
		}
		name := payload[i+1 : end-1]
		hit := string(name) == field
		if !hit && bytes.IndexByte(name, '\\') >= 0 {
			var s string
			hit = json.Unmarshal(payload[i:end], &s) == nil && s == field
		}
		i = space(payload, end)
		if i >= len(payload) || payload[i] != ':' {
			return nil
		}
		i = space(payload, i+1)
		end = valueEnd(payload, i)
		if end < 0 {
			return nil
		}
		if hit {
			return keyText(payload[i:end])
		}
		i = space(payload, end)
		if i >= len(payload) || payload[i] != ',' {
			return nil
		}
		i++
	}
}

func keyText(v []byte) []byte {
	switch {
	case len(v) == 0 || string(v) == "null":
		return nil
	case v[0] != '"':
		return v
	case bytes.IndexByte(v, '\\') < 0:
		return v[1 : len(v)-1 : len(v)-1]
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		return nil
	}
	return []byte(s)
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// stringEnd is the index after the closing quote of the string that opens at i, -1 if there is none.
func stringEnd(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

// valueEnd is the index after the value that starts at i, -1 if it does not end.
func valueEnd(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		for depth := 0; i < len(b); {
			switch b[i] {
			case '"':
				if i = stringEnd(b, i); i < 0 {
					return -1
				}
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			if i++; depth == 0 {
				return i
			}
		}
		return -1
	}
	from := i
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}
