package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
	"github.com/millrace/millrace/serving"
)

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "For each topic and layer: offsets, lag, freshness, rejects",
		Long: `status shows for each topic what is in the log, what batch cycles have read and how far the speed layer is; of views, what they
lack. Where Kafka drops records after a time, it says when the first goes that no cycle has read. When less than a quarter of that time
is left the exit code is 1; so it is when Kafka has dropped what no cycle had read, until ` + "`batch --accept-loss`" + `, and when the drift watch of ` + "`up`" + ` or ` + "`serve`" + ` has found something stored that differs from its records.`,
		Example: `  millrace status
  millrace status --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatus(cmd.Context(), a) },
	}
}

// status is what `status --json` prints.
type status struct {
	Up       *upFile       `json:"up"` // null: no `up` runs
	Topics   []topicStatus `json:"topics"`
	Problems problems      `json:"problems,omitempty"` // of the project's files: what they touch is left out
}

// topicStatus is a topic in every layer.
type topicStatus struct {
	logStatus
	Batch batchStatus     `json:"batch"`
	Speed speedStatus     `json:"speed"`
	Views []viewStatus    `json:"views,omitempty"` // those with partials
	Drift []serving.Drift `json:"drift,omitempty"` // ranges over which something stored differs from its records
	Notes []string        `json:"notes,omitempty"` // what is not as the topic file has it
}

// logStatus is a topic in the log.
type logStatus struct {
	Topic string           `json:"topic"`
	ID    string           `json:"id,omitempty"` // empty: the broker does not have the topic yet
	Start schemas.Frontier `json:"start"`        // the first offsets still in the log
	End   schemas.Frontier `json:"end"`
}

// viewStatus is how far a view's partials are over what is committed, and what is being done about it.
type viewStatus struct {
	batch.Coverage
	Rebuilding []rebuilding `json:"rebuilding,omitempty"` // by processes of this machine
}

// whole says that the view has partials over all that is committed.
func (v *viewStatus) whole() bool { return v.Covered == v.Ranges }

// speedStatus is how far the speed layer is above the batch layer's frontier.
type speedStatus struct {
	Frontier schemas.Frontier `json:"frontier"` // up to here every merged view has a partial or a slice
	Lag      int64            `json:"lag"`      // offsets above the batch layer's frontier that some view has no slice for: a question reads them raw

	// Withheld counts by view the offsets above that frontier whose slices have no rows, for they would not be clearly smaller
	// than the records or the view's SQL fails on these: a question reads them raw, too.
	Withheld map[string]int64 `json:"withheld,omitempty"`
}

// batchStatus is how far the batch layer is.
type batchStatus struct {
	Manifest string           `json:"manifest,omitempty"` // empty: no cycle has committed one
	Frontier schemas.Frontier `json:"frontier"`
	Lag      int64            `json:"lag"` // offsets between the frontier and the log's end
	Records  int64            `json:"records"`
	Rejects  int64            `json:"rejects"`
	Bytes    int64            `json:"bytes"`
	Newest   *time.Time       `json:"newest,omitempty"`  // the last append time that lies in it
	Lost     []schemas.Range  `json:"lost,omitempty"`    // what Kafka had dropped before a cycle had read it, given up since
	Dropped  []schemas.Range  `json:"dropped,omitempty"` // the same, not given up: no cycle goes on
	Unread   []batch.Unread   `json:"unread,omitempty"`  // what Kafka drops some day, and no cycle has read
}

func runStatus(ctx context.Context, a *app) error {
	p, c, wrong, err := a.openDespite(nil)
	if err != nil {
		return err
	}
	e := &engine{catalog: c}
	defer e.Close()
	if e.session, err = a.connect(ctx, p); err != nil {
		return err
	}
	if e.log, err = e.session.log(); err != nil {
		return err
	}
	if e.store, err = store.Open(p.Config.Store); err != nil {
		return err
	}
	if c.AsItWas() {
		if e.compiler, err = views.Open(); err != nil {
			return err
		}
		c.remember(e.store, e.compiler)
	}
	out, err := a.status(ctx, e, wrong)
	if err != nil {
		return err
	}
	alarm := out.alarm()
	if !a.json {
		return cmp.Or(a.printStatus(out), alarm)
	}
	if err := a.printJSON(out); err != nil || alarm == nil {
		return err
	}
	return said{alarm}
}

// status looks at every topic; none is made.
func (a *app) status(ctx context.Context, e *engine, wrong problems) (status, error) {
	out := status{Up: e.session.up, Topics: []topicStatus{}, Problems: wrong}
	work := readRebuilds(e.session.project)
	for _, name := range e.session.project.TopicNames() {
		t, m, err := readTopicStatus(ctx, e.log, e.store, e.session.project.Topics[name])
		if err == nil && t.ID != "" {
			t.Speed, err = e.speedStatus(ctx, a, name)
		}
		if err != nil {
			return out, err
		}
		if t.Views, err = viewsStatus(ctx, e.cycle(a, name), m, work); err != nil {
			return out, err
		}
		if t.Batch.Unread, err = e.dropped(ctx, a, &t); err != nil {
			return out, err
		}
		if t.ID != "" {
			if t.Drift, err = serving.Reports(ctx, e.store, manifest.Root(name, t.ID, e.session.project.Topics[name].Hash())); err != nil {
				return out, err
			}
		}
		out.Topics = append(out.Topics, t)
	}
	return out, nil
}

// alarm is the first range that is stored otherwise than its records have it, or else the first that was dropped before a cycle
// had read it, or else the first partition whose records are about to be.
func (s *status) alarm() error {
	for _, t := range s.Topics {
		if len(t.Drift) > 0 {
			return t.Drift[0].Problem()
		}
	}
	for _, t := range s.Topics {
		for _, hole := range t.Batch.Dropped {
			return dataset.Dropped(t.Topic, hole)
		}
	}
	for _, t := range s.Topics {
		for i := range t.Batch.Unread {
			if u := &t.Batch.Unread[i]; u.Alarm() {
				return u.Problem(t.Topic)
			}
		}
	}
	return nil
}

// viewsStatus is how far the partials of a topic's views are, nil before the first cycle.
func viewsStatus(ctx context.Context, in *batch.Input, m *manifest.Manifest, work []rebuilding) ([]viewStatus, error) {
	covered, err := in.Cover(ctx, m)
	if err != nil {
		return nil, err
	}
	var out []viewStatus
	for _, c := range covered {
		v := viewStatus{Coverage: c}
		for _, r := range work {
			if r.Topic == in.Topic.Name && r.View == c.View {
				v.Rebuilding = append(v.Rebuilding, r)
			}
		}
		out = append(out, v)
	}
	return out, nil
}

// speedStatus finds where the slices end. A topic without merged views needs none.
func (e *engine) speedStatus(ctx context.Context, a *app, topic string) (speedStatus, error) {
	out := speedStatus{Frontier: schemas.Frontier{}}
	in, err := e.slicing(ctx, a, topic)
	if err != nil || len(in.Views) == 0 {
		return out, err
	}
	plan, err := in.Plan(ctx)
	if err != nil {
		return out, err
	}
	out.Lag, out.Withheld = plan.Lag, plan.Withheld
	for _, r := range plan.Ranges {
		out.Frontier[r.Partition] = r.From
	}
	return out, nil
}

func readTopicStatus(ctx context.Context, log *kafkalog.Log, st store.Store, topic *schemas.Topic) (topicStatus, *manifest.Manifest, error) {
	out := topicStatus{Batch: batchStatus{Frontier: schemas.Frontier{}}, Speed: speedStatus{Frontier: schemas.Frontier{}}}
	var err error
	if out.logStatus, err = readLogStatus(ctx, log, topic.Name); err != nil || out.ID == "" {
		return out, nil, err
	}
	out.Notes = partitionNotes(topic, len(out.End))
	m, err := dataset.Newest(ctx, st, manifest.Root(topic.Name, out.ID, topic.Hash()))
	if err != nil {
		return out, nil, err
	}
	if m != nil {
		out.Batch.Manifest, out.Batch.Frontier = manifest.Name(m.Sequence), m.Frontier
		out.Batch.Lost, out.Batch.Dropped = m.Lost, dataset.Holes(m, out.Start)
		var newest int64
		for _, f := range m.Files {
			out.Batch.Records += f.Records
			out.Batch.Bytes += f.Bytes
			newest = max(newest, f.MaxAppend)
		}
		for _, f := range m.Rejects {
			out.Batch.Rejects += f.Records
		}
		if newest > 0 {
			at := time.UnixMilli(newest).UTC()
			out.Batch.Newest = &at
		}
	}
	for _, r := range out.unread() {
		out.Batch.Lag += r.Len()
	}
	if m != nil && dataset.Shortened(topic.Name, m.Frontier, out.End) != nil { // or a cycle has committed since the log was looked at
		_, now, err := log.Offsets(ctx, topic.Name)
		if err != nil {
			return out, nil, err
		}
		if short := dataset.Shortened(topic.Name, m.Frontier, now); short != nil {
			out.Notes = append(out.Notes, short.Error())
		}
	}
	return out, m, nil
}

// unread is what of the log no cycle has read.
func (t *topicStatus) unread() []schemas.Range {
	from := t.Start.Clone()
	for partition, offset := range t.Batch.Frontier {
		from[partition] = max(from[partition], offset)
	}
	return from.Ranges(t.End)
}

func readLogStatus(ctx context.Context, log *kafkalog.Log, topic string) (logStatus, error) {
	out := logStatus{Topic: topic, Start: schemas.Frontier{}, End: schemas.Frontier{}}
	t, err := log.Topic(ctx, topic)
	if errors.Is(err, kafkalog.ErrNoTopic) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.ID = t.ID
	out.Start, out.End, err = log.Offsets(ctx, topic)
	return out, err
}

// partitionNotes says what Kafka has other than the topic file asks for.
func partitionNotes(topic *schemas.Topic, has int) []string {
	switch want := topic.Partitions; {
	case want == 0 || want == has:
		return nil
	case want < has:
		return []string{fmt.Sprintf("%s has %s and its file says %d: Kafka takes none away. Write partitions: %d, or delete the Kafka topic and fill it anew", topic.Name, count(has, "partition"), want, has)}
	default:
		return []string{fmt.Sprintf("%s has %s and its file says %d: a process that writes to it adds them, if the cluster allows that", topic.Name, count(has, "partition"), want)}
	}
}

func (a *app) printStatus(s status) error {
	if s.Up != nil {
		fmt.Fprintf(a.stdout, "up runs as process %d: %s\n\n", s.Up.PID, s.Up.HTTP)
	} else {
		fmt.Fprintf(a.stdout, "no `millrace up` runs here\n\n")
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "topic\tin the log\tin batch\trejects\tbatch lag\tspeed lag\tbatch newest\t\n")
	for _, t := range s.Topics {
		if t.ID == "" {
			fmt.Fprintf(w, "%s\tnot there yet\t\t\t\t\t\t\n", t.Topic)
			continue
		}
		newest := "-"
		if t.Batch.Newest != nil {
			newest = t.Batch.Newest.Format("2006-01-02 15:04:05")
		}
		behind := "-" // no merged view needs slices
		if len(t.Speed.Frontier) > 0 {
			behind = thousands(t.Speed.Lag)
		}
		var held int64
		for _, r := range t.Start.Ranges(t.End) {
			held += r.Len()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", t.Topic, thousands(held), thousands(t.Batch.Records), thousands(t.Batch.Rejects), thousands(t.Batch.Lag), behind, newest)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, t := range s.Topics {
		for i := range t.Views {
			a.printViewStatus(&t.Views[i])
		}
		printLost(a.stdout, t.Topic, t.Batch.Lost)
		printUnread(a.stdout, &t)
		for _, d := range t.Drift {
			fmt.Fprintf(a.stdout, "view %s over %s[%d]@[%d,%d): %s differs from its records in %d of %d rows, as found at %s\n",
				d.View, t.Topic, d.Partition, d.From, d.To, d.Stored, d.Differing, d.Rows, d.Found.Format("2006-01-02 15:04:05"))
		}
		for _, n := range t.Notes {
			fmt.Fprintf(a.stdout, "note: %s\n", n)
		}
		for _, v := range slices.Sorted(maps.Keys(t.Speed.Withheld)) {
			fmt.Fprintf(a.stdout, "note: %s reads %s of %s above the batch layer: its slices would not be clearly smaller, or its SQL fails on them\n", v, count(int(t.Speed.Withheld[v]), "record"), t.Topic)
		}
	}
	for _, p := range s.Problems {
		fmt.Fprintf(a.stdout, "left out: %s\n", p)
	}
	return nil
}

// printUnread says of the partition that has the least time when Kafka may drop what no cycle has read.
func printUnread(w io.Writer, t *topicStatus) {
	if len(t.Batch.Unread) == 0 {
		return
	}
	u := slices.MinFunc(t.Batch.Unread, func(a, b batch.Unread) int { return a.Dropped.Compare(b.Dropped) })
	fmt.Fprintf(w, "%s[%d]: Kafka may drop offset %d, which no cycle has read, from %s on\n", t.Topic, u.Partition, u.Offset, u.Dropped.Format("2006-01-02 15:04:05"))
}

// printViewStatus says what is not as it should be in the end: partials that are missing, and work on them.
func (a *app) printViewStatus(v *viewStatus) {
	if !v.whole() {
		fmt.Fprintf(a.stdout, "view %s has partials over %d of %s, %s of %s records; the others are read from data files\n", v.View, v.Covered, count(v.Ranges, "committed range"),
			thousands(v.Ready), thousands(v.Records))
	}
	if v.Failed != "" {
		fmt.Fprintf(a.stdout, "view %s has no answer over these records: %s\n", v.View, v.Failed)
	}
	for _, r := range v.Rebuilding {
		fmt.Fprintf(a.stdout, "process %d is rebuilding %s\n", r.PID, r)
	}
}
