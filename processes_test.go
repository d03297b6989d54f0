package millrace_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas/slice"
	"github.com/millrace/millrace/testdata"
)

// product is millrace as processes of their own over one Kafka and one store, as two machines have it: each machine has a
// copy of the project's files.
type product struct {
	*testing.T
	binary   string
	machines [2]string // projects
	store    string
	temp     string // TMPDIR of all processes
	log      *kafkalog.Log
	client   *http.Client
	running  map[string]*daemon
	urls     map[string]string // of those that serve HTTP; an address stays over restarts

	flights [][]byte
	mu      sync.Mutex
	lines   [][]byte     // acknowledged
	acked   atomic.Int64 // how many
	retries atomic.Int64 // requests that were not answered and sent again
}

// processLayers is every process of the product: its machine and its command line; HTTP stands for its address.
var processLayers = map[string]struct {
	machine int
	args    []string
}{
	"gateway-1": {0, []string{"ingest", "--listen", "HTTP"}},
	"gateway-2": {1, []string{"ingest", "--listen", "HTTP"}},
	"speed-1":   {0, []string{"speed"}},
	"speed-2":   {1, []string{"speed"}},
	"batch-1":   {0, []string{"batch", "--every", "300ms"}},
	"batch-2":   {1, []string{"batch", "--every", "300ms"}},
	"serve-1":   {0, []string{"serve", "--listen", "HTTP"}},
	"serve-2":   {1, []string{"serve", "--listen", "HTTP"}},
}

// upBrokers is a Kafka made of another project's `up`.
func upBrokers(t *testing.T) []string {
	t.Helper()
	c := openCrash(t, 1)
	for _, folder := range []string{"topics", "views", "jobs"} {
		if err := os.RemoveAll(filepath.Join(c.dir, folder)); err != nil {
			t.Fatal(err)
		}
	}
	c.start()
	t.Cleanup(func() { <-c.up.done }) // the test's context has ended it
	var up struct{ Kafka string }
	text, err := os.ReadFile(filepath.Join(c.dir, ".millrace", "up.json"))
	if err == nil {
		err = json.Unmarshal(text, &up)
	}
	if err != nil {
		t.Fatal(err)
	}
	return []string{up.Kafka}
}

// Every layer is a process of its own. Each is killed with -9 while records flow and started again; a batch process is
// stopped in the middle of a cycle, while another one commits it, and goes on; of some layers there are two. At every
// step both servers have every acknowledged record in their answers, and at the end each once, and all views as DuckDB
// has them.
func TestProcesses(t *testing.T) { processes(t, upBrokers(t)) }

func processes(t *testing.T, brokers []string) {
	p := openProduct(t, brokers)
	p.start("gateway-1", "gateway-2", "speed-1", "batch-1", "serve-1", "serve-2")
	loaded, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	t.Cleanup(load.Wait)
	t.Cleanup(stop)
	for worker := range 2 {
		load.Go(func() { p.load(loaded, worker) })
	}
	p.grows("commits", 0)
	p.check()
	p.zombie()
	p.start("batch-2", "speed-2")
	victims := []struct {
		name, when string
		most       int64
	}{{"gateway-1", "records", 900}, {"speed-1", "slices", 30}, {"batch-1", "files", 40}, {"serve-1", "records", 300}, {"gateway-2", "records", 900}, {"batch-2", "files", 40}}
	if testing.Short() {
		victims = victims[:3]
	}
	for _, victim := range victims {
		p.grows(victim.when, rand.Int64N(victim.most))
		p.running[victim.name].alive()
		p.running[victim.name].kill()
		delete(p.running, victim.name)
		p.grows("records", 500)
		p.check()
		p.start(victim.name)
	}
	stop()
	load.Wait()
	if p.Failed() {
		return
	}
	t.Logf("%d records, %d requests sent again", p.acked.Load(), p.retries.Load())
	p.check()
	p.compare()
	for _, running := range p.running {
		running.alive()
		running.end()
	}
	p.millrace(0, "batch")
	p.millrace(1, "fsck")
	left, err := filepath.Glob(filepath.Join(p.temp, "millrace-[pb]*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v %v", left, err)
	}
	for _, dir := range p.machines { // which may be read-only
		if _, err := os.Stat(filepath.Join(dir, ".millrace")); err == nil {
			t.Errorf("a process wrote into the project's folder %s", dir)
		}
	}
}

func openProduct(t *testing.T, brokers []string) *product {
	t.Helper()
	p := &product{T: t, store: filepath.Join(t.TempDir(), "store"), temp: t.TempDir(), client: &http.Client{Timeout: 20 * time.Second},
		running: map[string]*daemon{}, urls: map[string]string{}}
	var err error
	if p.binary, err = binary(); err != nil {
		t.Fatal(err)
	}
	example, err := testdata.Example("flights")
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(brokers)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("brokers: %s\nstore: %q\nlisten: 127.0.0.1:0\nmemory: 128MiB\n", list, p.store)
	for i := range p.machines {
		p.machines[i] = filepath.Join(t.TempDir(), "flights")
		if err := os.CopyFS(p.machines[i], example); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p.machines[i], "millrace.yaml"), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if p.log, err = kafkalog.Open(kafkalog.Config{Brokers: brokers}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.log.Close() })
	if p.flights, err = testdata.Flights(); err != nil {
		t.Fatal(err)
	}
	return p
}

// start begins processes and waits until those that serve are ready.
func (p *product) start(names ...string) {
	p.Helper()
	for _, name := range names {
		layer := processLayers[name]
		args := append([]string{"-C", p.machines[layer.machine]}, layer.args...)
		for i := range args {
			if args[i] == "HTTP" {
				if p.urls[name] == "" {
					p.urls[name] = "http://127.0.0.1:" + freePort(p.T)
				}
				args[i] = strings.TrimPrefix(p.urls[name], "http://")
			}
		}
		p.running[name] = launch(p.T, p.said(name), []string{"TMPDIR=" + p.temp}, p.binary, args...)
	}
	for _, name := range names {
		p.wait(name+" is ready", func() bool {
			p.running[name].alive()
			if p.urls[name] == "" {
				return true
			}
			answer, err := p.client.Get(p.urls[name] + "/readyz")
			if err != nil {
				return false
			}
			answer.Body.Close()
			return answer.StatusCode == http.StatusOK
		})
	}
}

// said is the file that a process writes to.
func (p *product) said(name string) string { return filepath.Join(filepath.Dir(p.store), name+".log") }

// millrace runs a verb to its end.
func (p *product) millrace(machine int, args ...string) {
	p.Helper()
	if out, err := p.command(machine, args...).CombinedOutput(); err != nil {
		p.Fatalf("millrace %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (p *product) command(machine int, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(p.Context(), p.binary, append([]string{"-C", p.machines[machine]}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+p.temp)
	return cmd
}

func (p *product) wait(what string, seen func() bool) {
	p.Helper()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for !seen() {
		if p.Failed() {
			p.FailNow()
		}
		select {
		case <-tick.C:
		case <-patience.C:
			p.Fatalf("%s: not within a minute", what)
		}
	}
}

// load sends records to the gateways, each request until it is answered: first to one of them, then to the other. Some go
// to both at the same moment.
func (p *product) load(ctx context.Context, worker int) {
	const lines = 50
	gateways := []string{p.urls["gateway-1"], p.urls["gateway-2"]}
	for n := 0; ctx.Err() == nil; n++ {
		var body bytes.Buffer
		sent := make([][]byte, lines)
		for i := range sent {
			flight := p.flights[(n*lines+i)%len(p.flights)]
			sent[i] = fmt.Appendf(nil, "%s,\"id\":%d}", bytes.TrimSuffix(flight, []byte("}")), (n*2+worker)*lines+i)
			body.Write(append(sent[i], '\n'))
		}
		key := fmt.Sprintf("%d-%d", worker, n)
		var both sync.WaitGroup
		var there string
		if n%8 == 0 {
			both.Go(func() { there = p.post(gateways, n+1, key, body.Bytes()) })
		}
		here := p.post(gateways, n, key, body.Bytes())
		if both.Wait(); n%8 == 0 && here != there {
			p.Errorf("one request, two answers:\n%s%s", here, there)
		}
		p.mu.Lock()
		p.lines = append(p.lines, sent...)
		p.mu.Unlock()
		p.acked.Add(lines)
		time.Sleep(20 * time.Millisecond) // a steady rate that two cores keep up with
	}
}

// post sends until it is answered, and gives the answer.
func (p *product) post(gateways []string, first int, key string, body []byte) string {
	for try := 0; ; try++ {
		request, err := http.NewRequestWithContext(p.Context(), http.MethodPost, gateways[(first+try)%len(gateways)]+"/v1/topics/flights/records", bytes.NewReader(body))
		if err != nil {
			p.Error(err)
			return ""
		}
		request.Header.Set("Idempotency-Key", key)
		answer, err := p.client.Do(request)
		if err == nil {
			text, rerr := io.ReadAll(answer.Body)
			answer.Body.Close()
			switch {
			case rerr == nil && answer.StatusCode == http.StatusOK:
				return string(text)
			case answer.StatusCode < 500 || try > 50:
				p.Errorf("request %s: %s: %s", key, answer.Status, text)
				return ""
			}
		}
		if p.Context().Err() != nil || try > 2000 {
			p.Errorf("request %s: %v", key, err)
			return ""
		}
		p.retries.Add(1)
		time.Sleep(25 * time.Millisecond)
	}
}

// grows waits until something that the product makes has grown by more than a number.
func (p *product) grows(what string, by int64) {
	p.Helper()
	count := map[string]func() int64{
		"records": p.acked.Load,
		"slices": func() (n int64) {
			_, end, err := p.log.Offsets(p.Context(), slice.Topic("flights"))
			if err == nil {
				for _, to := range end {
					n += to
				}
			}
			return n
		},
		"files":   func() int64 { return int64(len(p.files("/data/"))) },
		"commits": func() int64 { return int64(len(p.files("/manifests/"))) },
	}[what]
	before := count()
	p.wait(fmt.Sprintf("%d more %s", by, what), func() bool { return count() > before+by })
}

// files are the dataset's files of a kind.
func (p *product) files(kind string) (out []string) {
	_ = filepath.WalkDir(filepath.Join(p.store, "topics"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, kind) && !strings.HasPrefix(d.Name(), ".") {
			out = append(out, path)
		}
		return nil // what goes while one looks is seen the next time
	})
	return out
}

// ask gets an answer from a server, and its certificate.
func (p *product) ask(server, accept, sql, asOf string) (answer []byte, certificate string) {
	p.Helper()
	question := map[string]any{"sql": sql}
	if asOf != "" {
		question["as_of"] = json.RawMessage(asOf)
	}
	body, err := json.Marshal(question)
	if err != nil {
		p.Fatal(err)
	}
	request, err := http.NewRequestWithContext(p.Context(), http.MethodPost, p.urls[server]+"/v1/query", bytes.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	got, err := p.client.Do(request)
	if err != nil {
		p.Fatalf("%s: %v", server, err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode != http.StatusOK {
		p.Fatalf("%s: %s: %v %s: %s", server, sql, err, got.Status, text)
	}
	return text, got.Header.Get("Millrace-Certificate")
}

// check asks every server for what was acknowledged before the question, by a merged view and by the records themselves,
// and each for the first one's answer again.
func (p *product) check() {
	p.Helper()
	const view = "SELECT sum(flights)::BIGINT AS n, (SELECT count(*) FROM flights) AS m, (SELECT count(DISTINCT _extra->>'$.id') FROM flights) AS ids FROM delays"
	first, certificate := "", ""
	for _, server := range []string{"serve-1", "serve-2"} {
		if p.running[server] == nil {
			continue
		}
		least := p.acked.Load()
		answer, c := p.ask(server, "text/csv", view, "")
		var n, m, ids int64
		if _, err := fmt.Sscanf(string(answer), "n,m,ids\n%d,%d,%d\n", &n, &m, &ids); err != nil || n != m || m != ids || n < least {
			p.Fatalf("%s: %d records were acknowledged, the answer is %s %v", server, least, answer, err)
		}
		if first == "" {
			first, certificate = string(answer), c
		} else if again, _ := p.ask(server, "text/csv", view, certificate); string(again) != first {
			p.Fatalf("%s with the other server's certificate: %s, there %s", server, again, first)
		}
	}
}

// zombie stops the batch process in the middle of a cycle, lets another one commit, and lets it go on.
func (p *product) zombie() {
	p.Helper()
	r := p.running["batch-1"]
	signal := func(s os.Signal) {
		p.Helper()
		r.alive()
		if err := r.Process.Signal(s); err != nil {
			p.Fatal(err)
		}
	}
	const words = "another batch process committed this cycle first"
	for try := 0; ; try++ {
		commits := len(p.files("/manifests/"))
		p.grows("files", 0)
		signal(syscall.SIGSTOP)
		if len(p.files("/manifests/")) == commits {
			break // it has built some of a cycle and has not committed it
		}
		signal(syscall.SIGCONT)
		if try == 100 {
			p.Fatal("no cycle was caught half-way")
		}
	}
	p.millrace(1, "batch", "-q")
	p.check()
	newest := slices.Max(p.files("/manifests/"))
	before, err := os.ReadFile(newest)
	if err != nil {
		p.Fatal(err)
	}
	signal(syscall.SIGCONT)
	p.wait("the batch process that was stopped says that it lost", func() bool {
		r.alive()
		return strings.Contains(r.words(), words)
	})
	if after, err := os.ReadFile(newest); err != nil || !bytes.Equal(before, after) {
		p.Fatalf("the manifest of the other process has changed: %v", err)
	}
	p.grows("commits", 0) // it goes on at its next time
	p.check()
}

// compare wants every view from both servers with the same rows, whose order a view without ORDER BY leaves open, and as
// DuckDB has it over the lines that were sent.
func (p *product) compare() {
	f := openFlights(p.T)
	path := filepath.Join(p.TempDir(), "sent.ndjson")
	f.must(os.WriteFile(path, bytes.Join(p.lines, []byte("\n")), 0o600))
	f.exec(fmt.Sprintf("CREATE TABLE flights AS SELECT * FROM read_json('%s', format = 'newline_delimited', columns = {date: 'TIMESTAMP', delay: 'INTEGER', distance: 'INTEGER', origin: 'VARCHAR', destination: 'VARCHAR'})", path))
	compiler, err := views.Open()
	f.must(err)
	defer compiler.Close()
	catalog := &views.Catalog{Topics: f.project.Topics, References: f.refs}
	for name, text := range f.text {
		v, err := compiler.Compile(name, name+".sql", text, catalog)
		f.must(err)
		sql := "SELECT * FROM " + name
		whole, certificate := p.ask("serve-1", "application/vnd.apache.parquet", sql, "")
		file := filepath.Join(p.TempDir(), name+".parquet")
		f.must(os.WriteFile(file, whole, 0o600))
		f.sameAs(v, file)
		one, _ := p.ask("serve-1", "text/csv", sql, certificate)
		other, _ := p.ask("serve-2", "text/csv", sql, certificate)
		if !slices.Equal(inOrder(one), inOrder(other)) || len(one) == 0 {
			p.Errorf("%s: the servers differ over one certificate", name)
		}
	}
}

// inOrder is a text's lines, sorted.
func inOrder(text []byte) []string { return slices.Sorted(strings.Lines(string(text))) }
