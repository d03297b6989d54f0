//go:build engines

package kafkalog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/cmd/cluster"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// A real Kafka lets us in by every mechanism, refuses with a sentence what is wrong, and its transactions and codecs are read
// as it means them.
func TestOnRealKafka(t *testing.T) {
	k, err := cluster.StartKafka(t.Context(), cluster.KafkaOptions{Dir: t.TempDir(), Secure: true, Tied: true, Note: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	})
	plain := kafkalog.Config{Brokers: k.Plaintext}
	ca := &kafkalog.TLS{CA: k.CA}
	sasl := func(mechanism, file string) *kafkalog.SASL {
		return &kafkalog.SASL{Mechanism: mechanism, User: k.User, PasswordFile: file}
	}
	for name, c := range map[string]kafkalog.Config{
		"plain text": plain,
		"PLAIN":      {Brokers: k.Brokers, TLS: ca, SASL: sasl(kafkalog.Plain, k.PassFile)},
		"SHA-256":    {Brokers: k.Brokers, TLS: ca, SASL: sasl(kafkalog.ScramSHA256, k.PassFile)},
		"SHA-512":    {Brokers: k.Brokers, TLS: ca, SASL: sasl(kafkalog.ScramSHA512, k.PassFile)},
		"mutual TLS": {Brokers: k.TLS, TLS: &kafkalog.TLS{CA: k.CA, Cert: k.Cert, Key: k.Key}},
	} {
		c.Brokers = append([]string{"127.0.0.1:1"}, c.Brokers...)
		if err := everything(c, strings.ReplaceAll(name, " ", "")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	wrong := secret(t, "wrong")
	for name, c := range map[string]struct {
		kafkalog.Config
		says string
	}{
		"a wrong password":      {kafkalog.Config{Brokers: k.Brokers, TLS: ca, SASL: sasl(kafkalog.ScramSHA512, wrong)}, wrong},
		"a wrong PLAIN one":     {kafkalog.Config{Brokers: k.Brokers, TLS: ca, SASL: sasl(kafkalog.Plain, wrong)}, wrong},
		"nobody":                {kafkalog.Config{Brokers: k.Brokers, TLS: ca}, "kafka.sasl"},
		"plain text to TLS":     {kafkalog.Config{Brokers: k.Brokers}, "set kafka.tls"},
		"TLS to a plain port":   {kafkalog.Config{Brokers: k.Plaintext, TLS: ca}, "kafka.tls"},
		"another authority":     {kafkalog.Config{Brokers: k.Brokers, TLS: &kafkalog.TLS{CA: newPapers(t).ca}, SASL: sasl(kafkalog.Plain, k.PassFile)}, "tls: {ca: FILE}"},
		"no client certificate": {kafkalog.Config{Brokers: k.TLS, TLS: ca}, "kafka.tls.cert"},
		"too much replication":  {kafkalog.Config{Brokers: k.Plaintext, Replication: 3}, "lower kafka.replication"},
	} {
		began := time.Now()
		err := everything(c.Config, "refused")
		var problem *schemas.Problem
		if !errors.As(err, &problem) || schemas.KindOf(err) != schemas.Environment || !strings.Contains(problem.Hint, c.says) {
			t.Errorf("%s: %v, wanted in its hint: %s", name, err, c.says)
		}
		t.Log(name, time.Since(began).Round(10*time.Millisecond), err)
	}
	for name, codec := range map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()} {
		readsTransactions(t, plain, "txn-"+name, codec)
	}
	publishesEveryCodec(t, k.Plaintext)
	refusesCompacted(t, k.Plaintext)
}
