package bench

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// ingestRun gives each run a Kafka topic of its own.
func ingestRun(ctx context.Context, w *world, j *Job) error {
	j.Topic = ads
	j.Kafka = fmt.Sprintf("%s-%s-%d", ads, j.Work, j.Run)
	return nil
}

// ingestTopic is the ad topic under the run's name, made in the broker.
func ingestTopic(ctx context.Context, j *Job) (*schemas.Topic, error) {
	c, err := openProject(j.Dir)
	if err != nil {
		return nil, err
	}
	c.compiler.Close()
	topic := *c.catalog.Topics[j.Topic]
	topic.Name = j.Kafka
	p, err := ingest.NewProducer(ingest.ProducerOptions{Kafka: kafkalog.Config{Brokers: j.Brokers}})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	_, _, err = p.Prepare(ctx, &topic)
	return &topic, err
}

// ingestWork is `millrace ingest` of the file: every line checked by the decoder, sent and acknowledged.
func ingestWork(ctx context.Context, j *Job, s *Sample) error {
	topic, err := ingestTopic(ctx, j)
	if err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	r, err := ingest.Run(ctx, ingest.Options{Topic: topic, Kafka: kafkalog.Config{Brokers: j.Brokers}, Files: []string{j.File}})
	if err != nil {
		return err
	}
	s.Events, s.Check = r.Records+r.Rejects, r.Records
	return s.stop()
}

// ingestKgo is the ceiling: the lines of the file to a producer with the same settings, nothing looked at.
func ingestKgo(ctx context.Context, j *Job, s *Sample) error {
	topic, err := ingestTopic(ctx, j)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(j.Brokers...), kgo.DefaultProduceTopic(topic.Name), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(1<<20), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(200_000))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := s.start(); err != nil {
		return err
	}
	f, err := os.Open(j.File)
	if err != nil {
		return err
	}
	defer f.Close()
	var acked atomic.Int64
	var failed atomic.Pointer[error]
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.Store(&err)
			return
		}
		acked.Add(1)
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		client.Produce(ctx, &kgo.Record{Value: append([]byte(nil), lines.Bytes()...)}, done)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	s.Events, s.Check = acked.Load(), acked.Load()
	return s.stop()
}
