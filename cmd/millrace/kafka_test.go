package main

import (
	"context"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// writeInto writes a file of a project.
func writeInto(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The whole way of a record on a cluster of three brokers under TLS and SASL: ingest, a cycle, a question, doctor.
func TestASecuredCluster(t *testing.T) {
	papers := httptest.NewTLSServer(nil) // for its certificate of 127.0.0.1
	defer papers.Close()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.TLS(papers.TLS.Clone()), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "millrace", "right"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	dir := t.TempDir()
	write := func(name, text string) { t.Helper(); writeInto(t, dir, name, text) }
	config := "brokers: [" + strings.Join(cluster.ListenAddrs(), ", ") + `]
kafka:
  tls: {ca: ca.pem}
  sasl: {mechanism: SCRAM-SHA-512, user: millrace, password_file: secrets/kafka}
  compression: lz4
`
	write("millrace.yaml", config+"  replication: 3\n  min_insync: 2\n")
	write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: papers.Certificate().Raw})))
	write("secrets/kafka", "right\n")
	write("topics/events.yaml", "fields: {k: VARCHAR NOT NULL}\n")
	write("views/counts.sql", "SELECT k, count(*) AS n FROM events GROUP BY k\n")
	typed := func(code int, want string, args ...string) {
		t.Helper()
		var out, errs strings.Builder
		got := run(context.Background(), append([]string{"-C", dir}, args...), strings.NewReader(`{"k":"a"}`+"\n"+`{"k":"a"}`+"\n"), &out, &errs)
		if all := out.String() + errs.String(); got != code || !strings.Contains(all, want) {
			t.Errorf("%v: exit code %d, want %d and %q in\n%s", args, got, code, want, all)
		}
	}
	typed(0, "2 records into events", "ingest", "events", "-")
	typed(0, "a,2", "query", "SELECT * FROM counts", "-f", "csv")
	typed(0, "", "batch")
	typed(0, "2 records into events", "ingest", "events", "-", "--id", "again")
	typed(0, "a,4", "query", "SELECT * FROM counts", "-f", "csv")
	typed(0, "answers under TLS, to millrace by SCRAM-SHA-512", "doctor")
	typed(0, "topics can be made with 3 replicas", "doctor")
	typed(0, "min.insync.replicas 2, append times are the broker's", "doctor")

	write("millrace.yaml", config+"  replication: 4\n")
	typed(3, "the brokers that run are 3", "doctor")
	write("secrets/kafka", "wrong")
	typed(3, "the password in "+filepath.Join(dir, "secrets", "kafka"), "doctor")
	typed(3, "", "query", "SELECT 1 FROM events")
	if err := os.Remove(filepath.Join(dir, "secrets", "kafka")); err != nil {
		t.Fatal(err)
	}
	typed(3, "kafka.sasl.password_file", "ingest", "events", "-")
}
