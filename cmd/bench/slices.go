package bench

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/speed"
)

const (
	sliceCount   = 10_000
	slicesEach   = 20  // published between two times that the speed layer folds: five seconds of four partitions
	slicesAsked  = 100 // questions of a run
	slicedView   = "campaigns"
	slicesMemory = 64 << 20 // what a process that serves keeps of slices
)

// makeSlices cuts the ad events into slices, which the runs publish.
func (w *world) makeSlices(ctx context.Context) error {
	if err := w.fillAds(ctx); err != nil {
		return err
	}
	return w.once("slices", func() error {
		j := w.job("slice", 0)
		if err := slicesRun(ctx, w, &j); err != nil {
			return err
		}
		_, err := w.run(ctx, j)
		return err
	})
}

// slicesRun takes away the slices of the run before.
func slicesRun(ctx context.Context, w *world, j *Job) error {
	j.Topic, j.File = ads, filepath.Join(w.dir, "slices.gob")
	return dropSlicesTopic(ctx, j.Brokers)
}

// dropSlicesTopic deletes the topic of the ad events' slices.
func dropSlicesTopic(ctx context.Context, brokers []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = kadm.NewClient(client).DeleteTopics(ctx, slice.Topic(ads)) // the answer names a topic that is not there; that is well
	return err
}

// sliceWork writes the slices to a file, the partitions taking turns, as the speed layer would publish them if each bundle had
// as many records.
func sliceWork(ctx context.Context, j *Job, _ *Sample) error {
	c, log, _, err := j.open()
	if err != nil {
		return err
	}
	defer log.Close()
	v := c.view(slicedView)
	k, err := kernel.New(ctx, kernel.Spec{Topic: c.catalog.Topics[j.Topic], Views: []*views.View{v}, References: c.references(v), Limits: kernel.Limits{Memory: c.project.Config.Memory}})
	if err != nil {
		return err
	}
	defer k.Close()
	info, err := log.Topic(ctx, j.Topic)
	if err != nil {
		return err
	}
	start, end, err := log.Offsets(ctx, j.Topic)
	if err != nil {
		return err
	}
	f, err := os.Create(j.File)
	if err != nil {
		return err
	}
	defer f.Close()
	out := gob.NewEncoder(f)
	each := max(1, int64(j.Events/sliceCount))
	for at := start; len(at.Ranges(end)) > 0; {
		for _, r := range at.Ranges(end) {
			r.To = min(r.To, r.From+each)
			s := slice.Slice{Definition: v.Definition, TopicID: info.ID, Partition: r.Partition, From: r.From, To: r.To, Records: r.Len()}
			if s.Payload, err = sliceRows(ctx, k, log, j.Topic, r); err != nil {
				return err
			}
			if err := out.Encode(kafkalog.Message{Partition: r.Partition, Key: []byte(v.Name), Value: slice.Encode(&s)}); err != nil {
				return err
			}
			at[r.Partition] = r.To
		}
	}
	return f.Close()
}

// sliceRows are the rows of a slice over a range.
func sliceRows(ctx context.Context, k *kernel.Kernel, log *kafkalog.Log, topic string, r schemas.Range) (payload []byte, err error) {
	reader := log.Read(topic, r, kafkalog.ReadOptions{Want: k.Want()})
	defer reader.Close()
	for {
		chunk, err := reader.Next(ctx)
		if errors.Is(err, kafkalog.ErrEnd) {
			break
		}
		if err != nil {
			return nil, err
		}
		rejects, err := k.Add(ctx, chunk)
		chunk.Release()
		if err != nil {
			return nil, err
		}
		if len(rejects) > 0 {
			return nil, errors.New(rejects[0].Reason)
		}
	}
	partials, err := k.Flush(ctx)
	if err != nil {
		return nil, err
	}
	defer partials[0].Release()
	return slicelog.EncodeRows(partials[0].Rows)
}

// slicesTiered asks for a view whose slices were folded as they came, in tiers.
func slicesTiered(ctx context.Context, j *Job, s *Sample) error {
	return askSliced(ctx, j, s, slicesEach)
}

// slicesFolded is the ceiling: all slices of a partition are folded into one.
func slicesFolded(ctx context.Context, j *Job, s *Sample) error { return askSliced(ctx, j, s, 0) }

func askSliced(ctx context.Context, j *Job, s *Sample, step int) error {
	return j.serve(serving.Options{Spare: 1, SliceBytes: slicesMemory}, func(on *served) error {
		in := &speed.Input{Log: on.log, Store: on.store, Topic: on.catalog.Topics[j.Topic], Views: []*views.View{on.view(slicedView)}, References: on.catalog.References,
			Memory: on.project.Config.Memory, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
		if err := publishSlices(ctx, j, in, step); err != nil {
			return err
		}
		ask := func() error {
			a, err := on.server.Query(ctx, serving.Request{SQL: "SELECT * FROM " + slicedView})
			if err != nil {
				return err
			}
			defer a.Close()
			if n := a.Certificate.Topics[j.Topic].Layers; n.Speed.Records != int64(j.Events) {
				return fmt.Errorf("the answer stands on %+v", n)
			}
			return a.Rows(ctx, func(json.RawMessage) error {
				s.Check++
				return nil
			})
		}
		if err := ask(); err != nil {
			return err
		}
		if err := s.start(); err != nil {
			return err
		}
		for range slicesAsked {
			if err := ask(); err != nil {
				return err
			}
			s.Events++
		}
		return s.stop()
	})
}

// publishSlices publishes the slices of the file and folds them each time that there are so many more, 0: when all are there.
func publishSlices(ctx context.Context, j *Job, in *speed.Input, step int) error {
	f, err := os.Open(j.File)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := in.Log.CreateTopic(ctx, slice.Topic(j.Topic), 4, map[string]string{"max.message.bytes": "8388608"}); err != nil {
		return err
	}
	from, held := gob.NewDecoder(f), []kafkalog.Message{}
	for more := true; more; {
		var m kafkalog.Message
		switch err := from.Decode(&m); {
		case errors.Is(err, io.EOF):
			more = false
		case err != nil:
			return err
		default:
			held = append(held, m)
		}
		if len(held) == step || !more {
			if err := in.Log.Publish(ctx, slice.Topic(j.Topic), held); err != nil {
				return err
			}
			if err := in.Tidy(ctx); err != nil {
				return err
			}
			held = held[:0]
		}
	}
	return nil
}
