package schemas

import "strings"

// Nearest is the known word a person most likely meant by word, "" if none is near: letter case is ignored, and a
// third of the letters (at least one) may be wrong, missing or too many.
func Nearest(word string, known []string) string {
	w := strings.ToLower(word)
	best, bestDist := "", max(1, len(w)/3)+1
	for _, k := range known {
		if d := editDistance(w, strings.ToLower(k)); d < bestDist {
			best, bestDist = k, d
		}
	}
	return best
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diag, row[j+1] = row[j+1], min(diag+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
