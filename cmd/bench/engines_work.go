package bench

import (
	"context"
	"errors"
	"os"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas/manifest"
	"github.com/millrace/millrace/schemas/slice"
)

// engineSpeed is the speed layer over all that the topic has, on the job's engine, and the answer of its slices.
func engineSpeed(ctx context.Context, j *Job, s *Sample) error {
	if err := dropSlices(ctx, j); err != nil {
		return err
	}
	if err := speedWork(ctx, j, s); err != nil {
		return err
	}
	c, log, _, err := j.open()
	if err != nil {
		return err
	}
	defer log.Close()
	s.Check, err = tallySlices(ctx, log, j.Topic, c.view(kernelView[j.Topic]).Definition)
	return err
}

// engineBatch is a cycle over all that the topic has, on the job's engine, and the answer that it committed.
func engineBatch(ctx context.Context, j *Job, s *Sample) error {
	defer os.RemoveAll(j.Store)
	if err := cycle(ctx, j, s); err != nil {
		return err
	}
	c, log, st, err := j.open()
	if err != nil {
		return err
	}
	defer log.Close()
	info, err := log.Topic(ctx, j.Topic)
	if err != nil {
		return err
	}
	s.Check, err = tallyCycle(ctx, st, manifest.Root(j.Topic, info.ID, c.catalog.Topics[j.Topic].Hash()), kernelView[j.Topic])
	return err
}

// dropSlices empties the topic of the slices, so that the run begins at the topic's start.
func dropSlices(ctx context.Context, j *Job) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(j.Brokers...))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(ctx, slice.Topic(j.Topic))
	if err == nil {
		err = ends.Error()
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil // the first run makes it
	}
	if err != nil {
		return err
	}
	deleted, err := admin.DeleteRecords(ctx, ends.Offsets())
	if err == nil {
		err = deleted.Error()
	}
	return err
}
