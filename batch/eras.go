package batch

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// eras cuts the log for each view by the versions of reference tables that a manifest knows to be in force, in order of
// views. A view that joins none as it was has one era.
func (in *Input) eras(ctx context.Context, known []manifest.TableVersion, of []*views.View) ([]versions.Era, error) {
	var out []versions.Era
	for _, v := range of {
		if in.History == nil {
			out = append(out, versions.Era{View: v})
			continue
		}
		eras, err := in.History.Eras(ctx, known, v)
		if err != nil {
			return nil, err
		}
		out = append(out, eras...)
	}
	return out, nil
}

// viewsOf are the views of all eras, those of now and those of then.
func viewsOf(eras []versions.Era) []*views.View {
	out := make([]*views.View, len(eras))
	for i := range eras {
		out[i] = eras[i].View
	}
	return out
}

// inForce is the input for records that are appended now: with the last era of each view.
func (in *Input) inForce(eras []versions.Era) *Input {
	now := *in
	now.Views, now.References = nil, maps.Clone(in.References)
	for _, e := range eras {
		if e.To == nil {
			now.Views = append(now.Views, e.View)
			maps.Copy(now.References, e.References)
		}
	}
	return &now
}

// with is the input with an era's tables.
func (in *Input) with(references map[string]*views.Reference) *Input {
	then := *in
	if references != nil {
		then.References = references
	}
	return &then
}

// versions are those that are in force, as dataset.Versions has them.
func (in *Input) versions(ctx context.Context, m *manifest.Manifest, topicID string) ([]manifest.TableVersion, error) {
	if in.History == nil {
		return nil, nil
	}
	return dataset.Versions(ctx, in.Store, m, in.Topic.Name, topicID)
}

// comeIntoForce puts versions that are new into the manifest, from its frontier on, and says whether there are any.
func comeIntoForce(m *manifest.Manifest, fresh []manifest.TableVersion) (changed bool) {
	for _, v := range fresh {
		last := ""
		for _, known := range m.Versions {
			if known.Reference == v.Reference {
				last = known.Hash
			}
		}
		if last != v.Hash { // else another process was faster
			v.From = m.Frontier.Clone()
			m.Versions, changed = append(slices.Clip(m.Versions), v), true
		}
	}
	return changed
}

// Cover says for each view how much of what is committed it has partials over, nil before the first cycle.
func (in *Input) Cover(ctx context.Context, m *manifest.Manifest) ([]Coverage, error) {
	if m == nil {
		return nil, nil
	}
	eras, err := in.eras(ctx, m.Versions, in.Views)
	if err != nil {
		return nil, fmt.Errorf("partials of %s: %w", in.Topic.Name, err)
	}
	return cover(m, eras), nil
}

// held says whether the eras of one view have partials over all of a range.
func held(have map[string]spans, eras []versions.Era, r schemas.Range) bool {
	return !slices.ContainsFunc(eras, func(e versions.Era) bool {
		part := e.Within(r)
		return part.Len() > 0 && !have[e.View.Definition].hold(part)
	})
}

// InForce is the input for records that are appended now: its views are compiled with the versions of reference tables that
// are in force, as the newest manifest says.
func (in *Input) InForce(ctx context.Context) (*Input, error) {
	if in.History == nil {
		return in, nil
	}
	w, err := in.walk(ctx, Pace{})
	if err != nil {
		return nil, err
	}
	known, err := in.versions(ctx, w.manifest, w.topicID)
	if err != nil {
		return nil, err
	}
	eras, err := in.eras(ctx, known, in.Views)
	if err != nil {
		return nil, err
	}
	return in.inForce(eras), nil
}
