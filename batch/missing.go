package batch

import (
	"cmp"
	"slices"

	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// fillFiles is how many data files one partial is made from at most, where many small ones lie side by side.
const fillFiles = 256

// Missing is a committed range that a view has no partial over, and the data files that hold its records.
type Missing struct {
	View  *views.View     `json:"view"`
	Range schemas.Range   `json:"range"`
	Files []manifest.File `json:"files"`

	References map[string]*views.Reference `json:"references,omitempty"` // that the view joins; nil: those of the Input
}

// records is how many the files hold.
func (m *Missing) records() (n int64) {
	for _, f := range m.Files {
		n += f.Records
	}
	return n
}

// missing lists what a new or changed view lacks in its eras, view by view in order of ranges. Small files that lie side by
// side are taken together: one partial answers for all of them.
func (in *Input) missing(m *manifest.Manifest, eras []versions.Era) []Missing {
	have, files := spansOf(m.Partials), inOrder(m.Files)
	var out []Missing
	for _, e := range eras {
		first := len(out)
		for _, f := range files {
			r := e.Within(f.Range())
			if r.Len() == 0 || have[e.View.Definition].hold(r) {
				continue
			}
			if last := len(out) - 1; last >= first && in.joins(&out[last], r) {
				out[last].Range.To, out[last].Files = r.To, append(out[last].Files, f)
				continue
			}
			out = append(out, Missing{e.View, r, []manifest.File{f}, e.References})
		}
	}
	return out
}

func (in *Input) joins(m *Missing, r schemas.Range) bool {
	return m.Range.Partition == r.Partition && m.Range.To == r.From && r.To-m.Range.From <= maxRange && len(m.Files) < cmp.Or(in.fillFiles, fillFiles)
}

func inOrder(files []manifest.File) []manifest.File {
	return slices.SortedFunc(slices.Values(files), func(a, b manifest.File) int { return byRange(a.Range(), b.Range()) })
}

// over are the files that hold records of a range.
func over(files []manifest.File, r schemas.Range) []manifest.File {
	return inOrder(slices.DeleteFunc(slices.Clone(files), func(f manifest.File) bool {
		return f.Partition != r.Partition || f.To <= r.From || f.From >= r.To
	}))
}

// isNote says that the entry is no partial: it says that those below it cannot be folded.
func isNote(p manifest.Partial) bool { return p.Tier > 0 && p.Failed != "" }

// spans are ranges that do not touch, in order of partitions and offsets.
type spans []schemas.Range

// spansOf are the ranges of each definition's partials, put together where they touch.
func spansOf(partials []manifest.Partial) map[string]spans {
	out := map[string]spans{}
	for _, p := range partials {
		if !isNote(p) {
			out[p.Definition] = append(out[p.Definition], p.Range())
		}
	}
	for definition, s := range out {
		slices.SortFunc(s, byRange)
		fused := s[:1]
		for _, r := range s[1:] {
			if last := &fused[len(fused)-1]; last.Partition == r.Partition && last.To >= r.From {
				last.To = max(last.To, r.To)
			} else {
				fused = append(fused, r)
			}
		}
		out[definition] = fused
	}
	return out
}

// hold says whether one of the spans has the whole range in it.
func (s spans) hold(r schemas.Range) bool {
	i, found := slices.BinarySearchFunc(s, r, byRange)
	if !found {
		i--
	}
	return i >= 0 && s[i].Partition == r.Partition && s[i].From <= r.From && s[i].To >= r.To
}

// Coverage is how much of what is committed a view has partials over.
type Coverage struct {
	View       string `json:"view"`
	Definition string `json:"definition"`
	Ranges     int    `json:"ranges"`           // committed ranges
	Covered    int    `json:"covered"`          // those of them with a partial
	Records    int64  `json:"records"`          // in the ranges
	Ready      int64  `json:"ready"`            // in those that are covered
	Partials   int    `json:"partials"`         // files, and ranges that came to no row
	Rows       int64  `json:"rows"`             // of the partials
	Bytes      int64  `json:"bytes"`            // of the partials
	Failed     string `json:"failed,omitempty"` // what the view's SQL comes to over some range
}

// cover says for each view, its eras together, how much of the manifest it has partials over.
func cover(m *manifest.Manifest, eras []versions.Era) []Coverage {
	var out []Coverage
	have := spansOf(m.Partials)
	at := map[string][]int{}
	for first := 0; first < len(eras); {
		next := first + 1
		for ; next < len(eras) && eras[next-1].To != nil; next++ {
		}
		mine := eras[first:next]
		c := Coverage{View: mine[0].View.Name, Definition: mine[len(mine)-1].View.Definition, Ranges: len(m.Files)}
		for _, f := range m.Files {
			c.Records += f.Records
			if held(have, mine, f.Range()) {
				c.Covered, c.Ready = c.Covered+1, c.Ready+f.Records
			}
		}
		for _, e := range mine {
			at[e.View.Definition] = append(at[e.View.Definition], len(out))
		}
		out, first = append(out, c), next
	}
	for _, p := range m.Partials {
		if isNote(p) {
			continue
		}
		for _, i := range slices.Compact(at[p.Definition]) {
			out[i].Partials, out[i].Rows, out[i].Bytes = out[i].Partials+1, out[i].Rows+p.Rows, out[i].Bytes+p.Bytes
			if p.Failed != "" {
				out[i].Failed = p.Failed
			}
		}
	}
	return out
}
