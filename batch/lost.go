package batch

import (
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// giveUp notes ranges as lost in a manifest, each with the entries of a range that held no record. There is nothing to build of
// them, however long they are, and what is made of data files comes to nothing over them like over any range without records.
func giveUp(m *manifest.Manifest, lost []schemas.Range) {
	for _, r := range lost {
		none := manifest.File{Partition: r.Partition, From: r.From, To: r.To}
		m.Files, m.Rejects, m.Lost = append(m.Files, none), append(m.Rejects, none), append(m.Lost, r)
	}
}

// without are the partials of a range of no records, as a build would make them.
func (in *Input) without(p *Plan, r schemas.Range) (out []manifest.Partial) {
	now := in
	if p.now != nil {
		now = p.now
	}
	for _, part := range between([]schemas.Range{r}, p.Versions) {
		for _, v := range now.Views {
			out = append(out, manifest.Partial{View: v.Name, Definition: v.Definition, Partition: part.Partition, From: part.From, To: part.To})
		}
	}
	return out
}
