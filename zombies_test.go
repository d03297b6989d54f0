package millrace_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// freeze stops a process where it is.
func (d *daemon) freeze() {
	d.Helper()
	d.alive()
	if err := d.Process.Signal(syscall.SIGSTOP); err != nil {
		d.Fatal(err)
	}
}

// thaw lets it go on.
func (d *daemon) thaw() {
	d.Helper()
	if err := d.Process.Signal(syscall.SIGCONT); err != nil {
		d.Fatal(err)
	}
}

// exits waits for the end of a process and wants its exit code and words.
func (d *daemon) exits(code int, words string) {
	d.Helper()
	<-d.done
	if got := d.ProcessState.ExitCode(); got != code || !strings.Contains(d.words(), words) {
		d.Errorf("%s: exit code %d, want %d and %q\n%s", strings.Join(d.Args[1:], " "), got, code, words, d.words())
	}
}

// put ingests more flights, each with an id.
func (p *product) put(n int) {
	p.Helper()
	var lines bytes.Buffer
	for range n {
		id := p.acked.Load()
		fmt.Fprintf(&lines, "%s,\"id\":%d}\n", bytes.TrimSuffix(p.flights[int(id)%len(p.flights)], []byte("}")), id)
		p.acked.Add(1)
	}
	path := filepath.Join(p.TempDir(), "more.ndjson")
	if err := os.WriteFile(path, lines.Bytes(), 0o600); err != nil {
		p.Fatal(err)
	}
	p.millrace(0, "-q", "ingest", "flights", path)
}

// few leaves a project two of its views, and no jobs.
func few(t *testing.T, dir string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "views", "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(path string) bool {
		return slices.Contains([]string{"delays.sql", "daily.sql"}, filepath.Base(path))
	})
	for _, path := range append(all, filepath.Join(dir, "jobs")) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

// proves wants each record that was put in the answer once, and store and views whole.
func (p *product) proves() {
	p.Helper()
	p.millrace(1, "fsck")
	p.millrace(1, "verify")
	out, err := p.command(1, "-q", "query", "-f", "csv", "SELECT (SELECT sum(flights) FROM delays)::BIGINT, count(*), count(DISTINCT _extra->>'$.id') FROM flights").Output()
	if err != nil {
		p.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	want := fmt.Sprint(p.acked.Load())
	if err != nil || len(rows) != 2 || !slices.Equal(rows[1], []string{want, want, want}) {
		p.Errorf("%s records were put in, the answer is %v, %v", want, rows, err)
	}
}

// frozen starts a verb on the first machine and stops it when it has made a file of a kind, and no manifest.
func (p *product) frozen(kind string, args ...string) *daemon {
	p.Helper()
	for range 20 {
		p.put(5000)
		files, commits := p.files(kind), p.files("/manifests/")
		d := launch(p.T, p.said(fmt.Sprintf("%s-%d", args[0], p.acked.Load())), []string{"TMPDIR=" + p.temp}, p.binary, append([]string{"-C", p.machines[0]}, args...)...)
		p.wait("a file of "+kind, func() bool { return len(p.files(kind)) > len(files) || len(d.done) > 0 })
		if len(d.done) == 0 {
			d.freeze()
		}
		if len(p.files("/manifests/")) == len(commits) {
			return d
		}
		d.thaw()
		<-d.done
	}
	p.Fatalf("no %v was caught half-way", args)
	return nil
}

// A process that is stopped in the middle of its work, and wakes when another one has done it, changes nothing and says so.
// What is not another one's work it goes on with.
func TestZombies(t *testing.T) {
	p := openProduct(t, upBrokers(t))
	for _, dir := range p.machines {
		few(t, dir)
	}

	cycle := p.frozen("/data/", "batch", "flights")
	p.millrace(1, "batch")
	manifests := p.files("/manifests/")
	newest, err := os.ReadFile(slices.Max(manifests))
	if err != nil {
		t.Fatal(err)
	}
	cycle.thaw()
	cycle.exits(1, "another")
	if after, err := os.ReadFile(slices.Max(p.files("/manifests/"))); err != nil || !bytes.Equal(after, newest) || len(p.files("/manifests/")) != len(manifests) {
		t.Errorf("the cycle that was stopped has changed what the other one committed: %v", err)
	}

	// Partials over history, while another process commits a cycle.
	if err := os.WriteFile(filepath.Join(p.machines[0], "views", "late.sql"), []byte("SELECT origin, max(delay) AS most FROM flights GROUP BY origin"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.millrace(1, "batch")
	history := p.frozen("/partials/", "batch", "flights")
	p.millrace(1, "batch")
	history.thaw()
	<-history.done
	p.proves()
	p.millrace(0, "batch") // what the one that was stopped has not made of its view
	p.millrace(0, "verify", "late")

	// Two speed layers.
	p.start("speed-1")
	p.put(2000)
	p.grows("slices", -1)
	p.running["speed-1"].freeze()
	p.put(2000)
	p.start("speed-2")
	p.grows("slices", 0)
	p.running["speed-1"].thaw()
	p.put(2000)
	p.grows("slices", 0)
	p.proves()
	for _, name := range []string{"speed-1", "speed-2"} {
		p.running[name].end()
	}
}

// While `up` is stopped it has its folder, and whoever comes is told that it does not answer; when it wakes it goes on.
func TestAPausedUp(t *testing.T) {
	c := openCrash(t, 1)
	few(t, c.dir)
	c.start()
	c.finish(0, c.ingest(0))
	c.signal(c.up, syscall.SIGSTOP)
	c.exit(c.begin("up"), 3, "`millrace up` runs here already, as process", "use it, or stop it first")
	c.exit(c.begin("batch", "flights"), 3, fmt.Sprintf("`millrace up`, process %d, has the project's broker, and it does not answer", c.up.Process.Pid))
	c.signal(c.up, syscall.SIGCONT)
	c.finish(1, c.ingest(1))
	c.prove("delays")
}
