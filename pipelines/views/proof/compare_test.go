package proof_test

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// measure says how far apart two numbers may be.
type measure struct {
	relative float64 // of the larger of the two
	absolute float64
	all      bool // every number, not only floating ones
}

// rounding is what floating sums may lose: 1e-12 of the magnitudes that went into them.
func rounding(magnitude float64) measure {
	return measure{relative: 1e-12, absolute: 1e-12 * magnitude}
}

var number = regexp.MustCompile(`-?(\d+\.?\d*(e[+-]?\d+)?|inf|nan)`)

func (m measure) sameNumber(a, b string) bool {
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	if a == b || err1 != nil || err2 != nil || math.IsInf(x, 0) || math.IsInf(y, 0) {
		return a == b
	}
	return math.Abs(x-y) <= m.relative*max(math.Abs(x), math.Abs(y))+m.absolute
}

// sameValue compares two values of a type as text.
func (m measure) sameValue(kind string, a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	if *a == *b {
		return true
	}
	switch {
	case strings.Contains(kind, "FLOAT"):
		m.relative = max(m.relative, 1e-6)
	case !strings.Contains(kind, "DOUBLE") && !m.all:
		return false
	}
	if number.ReplaceAllString(*a, "#") != number.ReplaceAllString(*b, "#") {
		return false
	}
	return slices.EqualFunc(number.FindAllString(*a, -1), number.FindAllString(*b, -1), m.sameNumber)
}

func (m measure) sameRow(want answer, a, b []*string) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range want.columns {
		if !m.sameValue(c.Type, a[i], b[i]) {
			return false
		}
	}
	return true
}

// same compares two answers, row by row if their order counts.
func (m measure) same(got, want answer, ordered bool) bool {
	if len(got.rows) != len(want.rows) || len(got.columns) != len(want.columns) {
		return false
	}
	if ordered {
		return slices.EqualFunc(got.rows, want.rows, func(a, b []*string) bool { return m.sameRow(want, a, b) })
	}
	left := sorted(got.rows)
	for _, row := range sorted(want.rows) {
		i := slices.IndexFunc(left, func(other []*string) bool { return m.sameRow(want, other, row) })
		if i < 0 {
			return false
		}
		left = slices.Delete(left, i, i+1)
	}
	return true
}

func sorted(rows [][]*string) [][]*string {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b []*string) int {
		return slices.CompareFunc(a, b, func(a, b *string) int { return compareCells(cell(a), cell(b)) })
	})
	return rows
}

// compareCells puts numbers in their own order, and before text.
func compareCells(a, b string) int {
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	isNumber, otherToo := err1 == nil && !math.IsNaN(x), err2 == nil && !math.IsNaN(y)
	switch {
	case isNumber && otherToo && x != y:
		return cmp.Compare(x, y)
	case isNumber != otherToo && isNumber:
		return -1
	case isNumber != otherToo:
		return 1
	}
	return strings.Compare(a, b)
}

// cell is a value as the corpus writes it: NULL, the text, or the text in quotes where it would be read as another.
func cell(value *string) string {
	if value == nil {
		return "NULL"
	}
	s := *value
	if s == "" || s == "NULL" || s != strings.TrimSpace(s) || strings.ContainsAny(s, "|\n\t") || s[0] == '"' {
		return strconv.Quote(s)
	}
	return s
}

// cells reads a line of the corpus.
func cells(line string) ([]*string, error) {
	var out []*string
	for rest := strings.TrimSpace(line); ; {
		var text string
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", line, err)
			}
			text, _ = strconv.Unquote(quoted)
			out = append(out, &text)
			rest = strings.TrimSpace(rest[len(quoted):])
		} else {
			at := strings.IndexByte(rest, '|')
			if at < 0 {
				at = len(rest)
			}
			if text = strings.TrimSpace(rest[:at]); text == "NULL" {
				out = append(out, nil)
			} else {
				out = append(out, &text)
			}
			rest = rest[at:]
		}
		if rest == "" {
			return out, nil
		}
		rest = strings.TrimSpace(strings.TrimPrefix(rest, "|"))
	}
}

// table writes rows in columns of one width.
func table(header []string, rows [][]*string) string {
	lines := [][]string{header}
	for _, r := range rows {
		line := make([]string, len(r))
		for i, v := range r {
			line[i] = cell(v)
		}
		lines = append(lines, line)
	}
	width := make([]int, len(header))
	for _, l := range lines {
		for i, c := range l {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	var out strings.Builder
	for _, l := range lines {
		var b strings.Builder
		for i, c := range l {
			if i > 0 {
				b.WriteString(" | ")
			}
			b.WriteString(c + strings.Repeat(" ", width[i]-len([]rune(c))))
		}
		out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	}
	return out.String()
}

func (a answer) header() []string {
	var out []string
	for _, c := range a.columns {
		name := c.Name
		out = append(out, cell(&name))
	}
	return out
}

func (a answer) String() string { return table(a.header(), a.rows) }
