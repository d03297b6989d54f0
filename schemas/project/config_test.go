package project

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/schemas"
)

// cases reads a table of YAML texts: each begins with a line `--- name`, and the comment lines at its end that hold a
// place are the problems it must have.
func cases(t *testing.T, file string) map[string][2]string {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^# (\d+:\d+: .*)$\n?`)
	out := map[string][2]string{}
	for _, c := range regexp.MustCompile(`(?m)^--- `).Split(string(text), -1)[1:] {
		name, body, _ := strings.Cut(c, "\n")
		var problems strings.Builder
		for _, m := range want.FindAllStringSubmatch(body, -1) {
			problems.WriteString(m[1] + "\n")
		}
		out[name] = [2]string{want.ReplaceAllString(body, ""), problems.String()}
	}
	if len(out) == 0 {
		t.Fatalf("no cases in %s", file)
	}
	return out
}

func said(problems []*schemas.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%d:%d: %s", p.Line, p.Column, p.Message)
		if p.Hint != "" {
			fmt.Fprintf(&b, " (%s)", p.Hint)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestFiles(t *testing.T) {
	read := map[string]func(*form, []byte){
		"config": func(f *form, text []byte) { f.parseConfig("/p", text) },
		"job":    func(f *form, text []byte) { f.parseJob("weekly", text) },
	}
	for kind, parse := range read {
		for _, verdict := range []string{"good", "bad"} {
			for name, c := range cases(t, "testdata/"+kind+"."+verdict+".yaml") {
				t.Run(kind+"/"+verdict+"/"+name, func(t *testing.T) {
					f := &form{}
					parse(f, []byte(c[0]))
					sortProblems(f.problems)
					if got := said(f.problems); got != c[1] {
						t.Errorf("%s\ngives\n%swant\n%s", c[0], got, c[1])
					}
					if (verdict == "good") != (c[1] == "") {
						t.Errorf("the case stands in the wrong file")
					}
				})
			}
		}
	}
}

func TestConfigValues(t *testing.T) {
	c := (&form{}).parseConfig("/p", []byte(cases(t, "testdata/config.good.yaml")["all keys"][0]))
	if c.Embedded() || fmt.Sprint(c.Brokers) != "[kafka-1:9092 [::1]:9093]" || c.Store != "/var/lib/millrace" || c.Batch.Every != 7*24*time.Hour || c.Drift != 0.005 {
		t.Errorf("%+v", c)
	}
	c = (&form{}).parseConfig("/p", nil)
	if !c.Embedded() || c.Store != "/p/data" || c.Listen != "127.0.0.1:7171" || c.Batch.Every != 5*time.Minute || c.Drift != 0.01 {
		t.Errorf("defaults: %+v", c)
	}
	if c = (&form{}).parseConfig("/p", []byte("drift: off")); c.Drift != 0 {
		t.Errorf("drift: off is %v", c.Drift)
	}
	c = (&form{}).parseConfig("/p", []byte("store: ../shared\nbrokers: localhost:9092"))
	k := (&form{}).parseConfig("/p", []byte(cases(t, "testdata/config.good.yaml")["a cluster with everything"][0])).Kafka
	if *k.TLS != (TLS{CA: "/p/ca.pem", Cert: "/p/client.pem", Key: "/etc/keys/client.key", ServerName: "kafka"}) ||
		*k.SASL != (SASL{Mechanism: "SCRAM-SHA-512", User: "millrace", PasswordFile: "/p/secrets/kafka"}) ||
		k.Replication != 3 || k.MinInsync != 2 || k.Compression != "zstd" {
		t.Errorf("%+v", k)
	}
	if s := (&form{}).parseConfig("/p", []byte("store: s3://bucket/prefix?region=eu-west-1")).Store; s != "s3://bucket/prefix?region=eu-west-1" {
		t.Errorf("the store is %s", s)
	}
	if c.Store != "/shared" || len(c.Brokers) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestJobTimes(t *testing.T) {
	j := (&form{}).parseJob("weekly", []byte(cases(t, "testdata/job.good.yaml")["all of it"][0]))
	at := time.Date(2001, 3, 25, 12, 0, 0, 0, time.UTC) // the day Paris turns its clocks
	next, previous := j.Next(at), j.Previous(at)
	if got := next.UTC().Format(time.RFC3339); got != "2001-03-25T22:00:00Z" {
		t.Errorf("next %s", got)
	}
	if got := previous.UTC().Format(time.RFC3339); got != "2001-03-24T23:00:00Z" {
		t.Errorf("previous %s", got)
	}
	if got := j.Previous(previous); !got.Before(previous) {
		t.Errorf("the run before %s is %s", previous, got)
	}
	if got := j.OutputPath("/p", next, previous, next); got != "/p/reports/weekly-2001-03-26-000000-2001-03-25-2001-03-26.parquet" {
		t.Errorf("output %s", got)
	}
	leap := (&form{}).parseJob("leap", []byte("schedule: 0 0 29 2 *\nsql: SELECT 1\noutput: a.csv"))
	if got := leap.Previous(at).Format(time.DateOnly); got != "2000-02-29" {
		t.Errorf("previous leap day %s", got)
	}
}

func TestJobPlaces(t *testing.T) {
	for text, want := range map[string][2]int{
		"sql: SELECT x":                            {1, 13},
		"retries: 1\nsql: 'SELECT x'":              {2, 14},
		"retries: 1\nsql: |\n   SELECT 1,\n     x": {4, 6},
	} {
		j := (&form{}).parseJob("j", []byte(text))
		line := strings.Count(j.SQL[:strings.Index(j.SQL, "x")], "\n") + 1
		column := strings.Index(j.SQL, "x") - strings.LastIndex(j.SQL[:strings.Index(j.SQL, "x")], "\n")
		gotLine, gotColumn := j.Place(line, column)
		if gotLine != want[0] || gotColumn != want[1] {
			t.Errorf("%q: %d:%d, want %v", text, gotLine, gotColumn, want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("store: ./data\nbatch: {every: 5m}\n")
	f.Add("brokers: [a:1, &x b:2, *x]\n? : -")
	f.Fuzz(func(t *testing.T, text string) {
		form := &form{}
		form.parseConfig("/p", []byte(text))
		form.parseJob("weekly", []byte(text))
	})
}
