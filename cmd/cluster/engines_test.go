//go:build engines

package cluster

import (
	"context"
	"testing"
	"time"
)

func TestTry(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	k, err := StartKafka(ctx, KafkaOptions{Dir: t.TempDir(), Secure: true, Brokers: 3, Tied: true, Note: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", k)
	if err := k.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 2} {
		f, err := StartFlink(ctx, FlinkOptions{Dir: t.TempDir(), TaskManagers: n, Tied: true, Note: t.Logf})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", f)
		if err := f.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{0, 1} {
		f, err := StartSpark(ctx, SparkOptions{Dir: t.TempDir(), Workers: n, Tied: true, Note: t.Logf})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", f)
		if err := f.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}
