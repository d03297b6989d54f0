package serving

import (
	"context"
	"database/sql"
	"maps"
	"slices"

	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// Explanation is how a question would be answered. What no slice or partial covers has been read for it already, so it
// costs what the question costs, but for the question's own SQL.
type Explanation struct {
	Sources []Source `json:"sources"`
	Plan    string   `json:"plan"` // DuckDB's own, with filters where it applies them
}

// Source is where a view's state rows, or a topic's records, come from. Ranges are half-open offsets.
type Source struct {
	Name     string          `json:"name"`           // of the view, or of the topic
	Half     string          `json:"half,omitempty"` // batch or speed, if only that was asked for
	Class    views.Class     `json:"class,omitempty"`
	Reasons  []string        `json:"reasons,omitempty"` // why a raw view is one; the topics it reads follow as sources of their own
	Topic    string          `json:"topic"`
	Partials int             `json:"partials"`       // files of the batch layer
	Slices   int             `json:"slices"`         // of the speed layer
	Files    []schemas.Range `json:"files"`          // below the frontier, from data files
	Log      []schemas.Range `json:"log"`            // above it, from the log
	Lost     []schemas.Range `json:"lost,omitempty"` // that Kafka dropped before a cycle had read them: there is no record of them
	Joins    []Join          `json:"joins,omitempty"`
}

// Join is a reference table that a view joins with its records.
type Join struct {
	Reference string   `json:"reference"`
	AsItWas   bool     `json:"as_it_was"` // each record with the version of its time; else all with the one
	Versions  []string `json:"versions"`  // hashes, in order of time
}

// joins notes the versions of a view's eras.
func (s Source) joins(eras []versions.Era) Source {
	for _, name := range slices.Sorted(maps.Keys(eras[0].References)) {
		j := Join{Reference: name, AsItWas: eras[0].References[name].AsItWas}
		for _, e := range eras {
			j.Versions = append(j.Versions, e.References[name].Hash)
		}
		j.Versions = slices.Compact(j.Versions)
		s.Joins = append(s.Joins, j)
	}
	return s
}

func sourceOf(name, half string, class views.Class, p *pinned, c *cover) Source {
	p = p.halfOf(half)
	return Source{Name: name, Half: half, Class: class, Topic: p.topic.Name, Partials: len(c.partials), Slices: len(c.slices),
		Files: append([]schemas.Range{}, c.history...), Log: append([]schemas.Range{}, c.raw...), Lost: p.lost()}
}

// Explain says where a question's tables come from and how DuckDB would run it. Errors: as Query's.
func (s *Server) Explain(ctx context.Context, r Request) (*Explanation, error) {
	q, parsed, err := s.ask(ctx, r)
	if err != nil {
		return nil, err
	}
	defer q.close()
	if err := q.lock(ctx); err != nil {
		return nil, err
	}
	e := &Explanation{Sources: append([]Source{}, q.sources...)}
	err = q.scan(ctx, "EXPLAIN "+parsed.SQL, func(rows *sql.Rows) error {
		var kind string
		return rows.Scan(&kind, &e.Plan)
	})
	if err != nil {
		return nil, q.problem(ctx, err)
	}
	return e, nil
}
