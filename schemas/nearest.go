package schemas

import "strings"

// Nearest is the known word a person most likely meant by word, "" if none is near: letter case is ignored, and a
// third of the letters (at least one) may be wrong, missing, too many or changed places.
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

// editDistance counts letters that are wrong, missing, too many, or changed places with the next.
func editDistance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
