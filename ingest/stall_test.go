package ingest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// stalling is a broker that takes no records until free is called.
func stalling(t *testing.T) (kafka kafkalog.Config, stalled <-chan struct{}, free func()) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	seen, held := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(seen) })
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		once()
		cluster.SleepControl(func() { <-held })
		return nil, nil, false
	})
	free = sync.OnceFunc(func() { close(held) })
	t.Cleanup(free)
	return kafkalog.Config{Brokers: cluster.ListenAddrs()}, seen, free
}

// A broker that takes no records does not fill the memory of a producer whose callers give up and come again; it goes on when
// the broker does.
func TestAStalledBrokerFillsNoMemory(t *testing.T) {
	kafka, _, free := stalling(t)
	p, err := NewProducer(ProducerOptions{Kafka: kafka})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.room = 1 << 20
	if _, _, err := p.Prepare(t.Context(), flights()); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, 64<<10)
	var most int64
	for range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		_, err := p.Append(ctx, flights(), [][]byte{payload})
		cancel()
		if schemas.KindOf(err) != schemas.Environment {
			t.Fatalf("%v", err)
		}
		most = max(most, p.cl.BufferedProduceBytes())
	}
	if most > p.room+int64(len(payload)) {
		t.Errorf("%d bytes wait for the broker, of %d that were given up", most, 200*len(payload))
	}
	free()
	for try := 0; ; try++ { // those that were given up fail whoever shares a batch with them
		if _, err = p.Append(t.Context(), flights(), [][]byte{payload}); err == nil || try == 50 {
			break
		}
	}
	if err != nil {
		t.Errorf("the broker is back: %v", err)
	}
}

// Whoever interrupts a run while the broker takes no records does not wait for it.
func TestAnInterruptedRunAtAStalledBroker(t *testing.T) {
	kafka, stalled, _ := stalling(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-stalled
		cancel()
	}()
	_, err := Run(ctx, Options{Topic: flights(), Kafka: kafka, Files: []string{inputFile(t, 10_000)}, Timeout: time.Hour})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "more were on their way to a broker that does not answer") {
		t.Error(err)
	}
}
