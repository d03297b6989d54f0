package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/speed"
)

// speedRun takes away the slices of the run before, so that every run begins at the topic's start.
func speedRun(ctx context.Context, w *world, j *Job) error {
	j.Topic = ads
	if j.Work != "speed" {
		return nil
	}
	return dropSlicesTopic(ctx, j.Brokers)
}

// speedWork is the speed layer over all that the topic has: broker -> Beam on prism -> slices in the broker.
func speedWork(ctx context.Context, j *Job, s *Sample) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil))) // prism talks much
	c, log, st, err := j.open()
	if err != nil {
		return err
	}
	defer log.Close()
	topic := c.catalog.Topics[j.Topic]
	in := &speed.Input{Log: log, Store: st, Topic: topic, Views: c.of(j.Topic), References: c.catalog.References, Memory: c.project.Config.Memory, Logger: slog.Default(), Engine: j.Engine}
	if err := s.start(); err != nil {
		return err
	}
	if err := in.CatchUp(ctx); err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	start, end, err := log.Offsets(ctx, topic.Name)
	if err != nil {
		return err
	}
	info, err := log.Topic(ctx, topic.Name)
	if err != nil {
		return err
	}
	found, _, err := slicelog.Chosen(ctx, log, topic.Name, info.ID, start, end, in.Views[0].Definition)
	for i := range found {
		s.Events += found[i].Records
	}
	var all int64
	for _, r := range start.Ranges(end) {
		all += r.Len()
	}
	if err == nil && s.Events != all {
		err = fmt.Errorf("the slices hold %d of %d records", s.Events, all)
	}
	return err
}
