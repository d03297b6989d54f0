package serving

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// pinned is one topic as a question sees it: fixed bounds and a fixed manifest.
type pinned struct {
	topic    *schemas.Topic
	id       string
	root     string             // of the dataset in the store
	manifest *manifest.Manifest // nil: no cycle has run
	from, to schemas.Frontier
	below    schemas.Frontier        // min(frontier, to): what the batch layer answers
	versions []manifest.TableVersion // of reference tables that are joined as they were

	// Where batch.VIEW ends and speed.VIEW begins, and the number of the manifest that says so: those of now, or of a certificate.
	half   schemas.Frontier
	number int64
}

// pin fixes what a question sees of a topic. The log's bounds are read before the manifest: then a cycle that commits in
// between can only put the frontier beyond the end, and the end cuts it.
func (q *question) pin(ctx context.Context, topic *schemas.Topic, asOf *AsOf) (*pinned, error) {
	s := q.server
	info, err := s.log.Topic(ctx, topic.Name)
	if err != nil {
		return nil, fmt.Errorf("pin %s: %w", topic.Name, err)
	}
	start, end, err := s.log.Offsets(ctx, topic.Name)
	if err != nil {
		return nil, fmt.Errorf("pin %s: %w", topic.Name, err)
	}
	p := &pinned{topic: topic, id: info.ID, root: manifest.Root(topic.Name, info.ID, topic.Hash()), from: start, to: end}
	if p.manifest, err = s.known.Newest(ctx, s.store, p.root); err != nil {
		return nil, fmt.Errorf("pin %s: %w", topic.Name, err)
	}
	if asOf, err = q.asOfManifest(ctx, p, asOf); err != nil {
		return nil, err
	}
	if err := q.whole(ctx, p, asOf); err != nil {
		return nil, err
	}
	if asOf != nil {
		if p.to, err = q.asOf(ctx, p, start, end, asOf); err != nil {
			return nil, err
		}
	}
	if p.versions, err = q.versions(ctx, p, asOf); err != nil {
		return nil, fmt.Errorf("pin %s: %w", topic.Name, err)
	}
	p.below = schemas.Frontier{}
	if p.manifest != nil {
		p.below = p.manifest.Frontier.Min(p.to)
		p.from = p.manifest.Start.Clone()
		for part, offset := range start {
			if _, seen := p.manifest.Frontier[part]; !seen { // no cycle knows the partition yet
				p.from[part] = offset
			}
		}
		for _, hole := range dataset.Holes(p.manifest, start) {
			if hole.From < p.to[hole.Partition] {
				return nil, dataset.Dropped(topic.Name, hole)
			}
		}
	}
	if err := q.halve(ctx, p, asOf); err != nil {
		return nil, fmt.Errorf("pin %s: %w", topic.Name, err)
	}
	if asOf != nil {
		certified, named := asOf.Topics[topic.Name]
		if named {
			if err := p.had(certified); err != nil {
				return nil, err
			}
		}
		for part, offset := range certified.From {
			if now := p.from[part]; now > offset && p.to[part] > offset {
				return nil, &schemas.Problem{Message: fmt.Sprintf("as of: the certificate covers %s[%d] from offset %d, and what lies below %d is gone", topic.Name, part, offset, now),
					Hint: "that answer cannot be given again: Kafka dropped the records before a cycle had read them"}
			}
		}
	}
	return p, nil
}

// whole refuses a log that has lost what cycles had committed. Offsets are answered for all the same: asOf sees to it that they
// lie within what there is.
func (q *question) whole(ctx context.Context, p *pinned, asOf *AsOf) error {
	if p.manifest == nil || dataset.Shortened(p.topic.Name, p.manifest.Frontier, p.to) == nil {
		return nil
	}
	if asOf != nil && asOf.Offsets[p.topic.Name] != nil {
		return nil
	}
	_, now, err := q.server.log.Offsets(ctx, p.topic.Name) // a cycle may have committed since they were read
	if err != nil {
		return fmt.Errorf("pin %s: %w", p.topic.Name, err)
	}
	return dataset.Shortened(p.topic.Name, p.manifest.Frontier, now)
}

// halve finds where the batch layer ended.
func (q *question) halve(ctx context.Context, p *pinned, asOf *AsOf) error {
	p.half = p.frontier()
	if p.manifest != nil {
		p.number = p.manifest.Sequence
	}
	if asOf == nil {
		return nil
	}
	certified, named := asOf.Topics[p.topic.Name]
	if !named || certified.Manifest >= p.number {
		return nil
	}
	p.half, p.number = p.from, certified.Manifest
	if p.number == 0 {
		return nil
	}
	then, err := dataset.Read(ctx, q.server.store, p.root, p.root+manifest.Name(p.number))
	if err != nil {
		return err
	}
	p.half = p.from.Clone()
	for part, offset := range then.Frontier {
		p.half[part] = max(p.from[part], min(offset, p.to[part]))
	}
	return nil
}

// asOfManifest is a moment with a topic's manifest in it replaced by the offsets of its frontier.
func (q *question) asOfManifest(ctx context.Context, p *pinned, asOf *AsOf) (*AsOf, error) {
	if asOf == nil {
		return nil, nil
	}
	number, named := asOf.Manifests[p.topic.Name]
	if !named {
		return asOf, nil
	}
	newest := int64(0)
	if p.manifest != nil {
		newest = p.manifest.Sequence
	}
	if number < 1 || number > newest {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("as of: topic %s has no manifest %d, the newest is %d", p.topic.Name, number, newest),
			Hint: "`millrace status` shows the newest; cycles of a declaration that has changed since are not among them"}
	}
	m, err := dataset.Read(ctx, q.server.store, p.root, p.root+manifest.Name(number))
	if err != nil {
		return nil, fmt.Errorf("as of manifest %d of %s: %w", number, p.topic.Name, err)
	}
	out := *asOf
	out.Offsets, out.Topics = maps.Clone(asOf.Offsets), maps.Clone(asOf.Topics)
	if out.Topics == nil {
		out.Topics = map[string]Coverage{}
	}
	out.Offsets[p.topic.Name], out.Topics[p.topic.Name] = m.Frontier, Coverage{Manifest: number}
	return &out, nil
}

// asOf is the frontier of a moment.
func (q *question) asOf(ctx context.Context, p *pinned, start, end schemas.Frontier, asOf *AsOf) (schemas.Frontier, error) {
	topic, id := p.topic.Name, p.id
	if asOf.Offsets == nil {
		to, err := q.server.log.OffsetsAt(ctx, topic, asOf.Time)
		if err != nil {
			return nil, fmt.Errorf("as of %s: %w", asOf.Time.Format(time.RFC3339Nano), err)
		}
		to = to.Min(end)
		for part := range to {
			if to[part] > start[part] || p.manifest == nil {
				continue
			}
			// The moment lies before what Kafka still has, so the files have the first record that is too new.
			if to[part], err = q.appendedAt(ctx, p, part, start[part], asOf.Time); err != nil {
				return nil, fmt.Errorf("as of %s: %w", asOf.Time.Format(time.RFC3339Nano), q.damaged(err))
			}
		}
		return to, nil
	}
	to, named := asOf.Offsets[topic]
	if !named {
		return end, nil
	}
	if want := asOf.Topics[topic].ID; want != "" && want != id {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("as of: the certificate is of topic %s with id %s, the topic now has id %s", topic, want, id),
			Hint: "the topic was deleted and made again; its old records are not in this one"}
	}
	out := schemas.Frontier{}
	for part := range end {
		out[part] = 0
	}
	for part, offset := range to {
		bound := end[part]
		if p.manifest != nil {
			bound = max(bound, p.manifest.Frontier[part])
		}
		if offset > bound || offset < 0 {
			return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("as of: offset %d of %s[%d] lies beyond the log's end %d", offset, topic, part, bound),
				Hint: "give offsets within the log; `millrace status` shows them"}
		}
		out[part] = offset
	}
	return out, nil
}

// appendedAt is the first offset below a bound whose record, accepted or refused, was appended at t or later, by the files
// of the manifest; the bound if there is none.
func (q *question) appendedAt(ctx context.Context, p *pinned, part int32, bound int64, t time.Time) (int64, error) {
	at, ms := bound, t.UnixMilli()
	for _, f := range slices.Concat(p.manifest.Files, p.manifest.Rejects) {
		if f.Partition != part || f.From >= at || f.Path == "" || f.MaxAppend != 0 && f.MaxAppend < ms {
			continue
		}
		path, err := q.local(ctx, p, f.Path, f.Bytes, f.CRC32C)
		if err != nil {
			return 0, err
		}
		query := fmt.Sprintf("SELECT coalesce(min(_offset), %d) FROM read_parquet(%s) WHERE epoch_ms(_timestamp) >= %d AND _offset < %[1]d", at, list([]string{path}), ms)
		if err := q.scan(ctx, query, func(r *sql.Rows) error { return r.Scan(&at) }); err != nil {
			return 0, err
		}
	}
	return at, nil
}
