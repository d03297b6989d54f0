package serving

import (
	"fmt"
	"slices"

	"github.com/millrace/millrace/schemas"
)

// lost are the parts of what is pinned whose records Kafka had dropped before a cycle had read them, and that an operator has
// given up.
func (p *pinned) lost() (out []schemas.Range) {
	if p.manifest == nil {
		return nil
	}
	for _, r := range p.manifest.Lost {
		r.From, r.To = max(r.From, p.from[r.Partition]), min(r.To, p.to[r.Partition])
		if r.Len() > 0 {
			out = append(out, r)
		}
	}
	return out
}

// had refuses a certificate whose answer had records that are lost now.
func (p *pinned) had(certified Coverage) error {
	for _, r := range p.lost() {
		knew := slices.ContainsFunc(certified.Lost, func(then schemas.Range) bool { return then.Holds(r) })
		if !knew && r.From < certified.To[r.Partition] && r.To > certified.From[r.Partition] {
			return &schemas.Problem{Message: fmt.Sprintf("as of: the certificate covers %s[%d] with offsets [%d, %d), which are lost since", p.topic.Name, r.Partition, r.From, r.To),
				Hint: "that answer cannot be given again: Kafka dropped the records before a cycle had read them; ask --as-of offsets for what is left"}
		}
	}
	return nil
}
