package millrace_test

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// exit waits for a process and wants its exit code and words on stderr.
func (c *crash) exit(p *process, code int, says ...string) {
	c.Helper()
	<-p.done
	if got := p.ProcessState.ExitCode(); got != code {
		c.Errorf("%s: exit code %d, want %d\n%s%s", strings.Join(p.Args[1:], " "), got, code, p.stdout.String(), p.stderr.String())
	}
	for _, words := range says {
		if !strings.Contains(p.stderr.String(), words) {
			c.Errorf("%s: want %q on stderr:\n%s", strings.Join(p.Args[1:], " "), words, p.stderr.String())
		}
	}
}

// until looks every few milliseconds, as long as the process runs, and says whether it saw what it waited for.
func (c *crash) until(p *process, seen func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !seen() {
		if len(p.done) > 0 {
			return false
		}
		<-tick.C
	}
	return true
}

// scratch is how many temporary files and folders the project has.
func (c *crash) scratch() int {
	entries, err := os.ReadDir(filepath.Join(c.dir, ".millrace", "scratch"))
	if err != nil && !os.IsNotExist(err) {
		c.Fatal(err)
	}
	return len(entries)
}

// While `up` runs nobody else has its folder or its port, and every verb that is interrupted ends at once, says how far
// it came and leaves nothing half done.
func TestSecondUpAndSignals(t *testing.T) {
	c := openCrash(t, 1)
	c.start()
	c.exit(c.begin("up"), 3, "`millrace up` runs here already, as process", "use it, or stop it first")

	var up struct{ HTTP string }
	text, err := os.ReadFile(filepath.Join(c.dir, ".millrace", "up.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &up); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	config := "listen: " + strings.TrimPrefix(up.HTTP, "http://") + "\n"
	if err := os.WriteFile(filepath.Join(other, "millrace.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	c.exit(c.begin("-C", other, "up"), 3, "address already in use", "listen: in millrace.yaml")

	// A query.
	out := filepath.Join(c.dir, "answer.csv")
	others := c.scratch()
	query := c.begin("query", "SELECT sum(hash(a.range + b.range)) FROM range(1000000) a, range(100000) b", "-o", out)
	if !c.until(query, func() bool { return c.scratch() > others }) {
		t.Fatal("the query ended by itself")
	}
	c.signal(query, syscall.SIGINT)
	c.exit(query, 1, "interrupted")
	if _, err := os.Stat(out); err == nil {
		t.Error("an interrupted query left an answer")
	}

	// An ingest, and the same again with --json: one object.
	for _, more := range [][]string{nil, {"--json"}} {
		ingest := c.ingest(0, more...)
		before := c.look().records
		if !c.until(ingest, func() bool { return c.look().records > before+100 }) {
			t.Fatal("the ingest ended by itself")
		}
		c.signal(ingest, syscall.SIGINT)
		c.exit(ingest, 1, "lines are acknowledged")
		if more != nil {
			var one struct{ Error struct{ Code int } }
			if err := json.NewDecoder(bytes.NewReader(ingest.stdout.Bytes())).Decode(&one); err != nil || one.Error.Code != 1 || bytes.Count(ingest.stdout.Bytes(), []byte("\n")) != 1 {
				t.Errorf("not one object: %s, %v", ingest.stdout.String(), err)
			}
		}
	}
	c.finish(0, c.ingest(0))

	// `up` itself.
	c.signal(c.up, syscall.SIGINT)
	c.exit(c.up, 0)
	if conn, err := net.Dial("tcp", strings.TrimPrefix(up.HTTP, "http://")); err == nil {
		conn.Close()
		t.Error("up has ended and still listens")
	}

	// A batch cycle, which the next one makes up for.
	batch := c.begin("batch", "flights")
	files := c.look().files
	if c.until(batch, func() bool { return c.scratch() > 0 || c.look().files > files }) {
		c.signal(batch, syscall.SIGTERM)
		c.exit(batch, 1, "interrupted")
	}
	c.must("batch", "flights")
	c.prove("")
	if n := c.scratch(); n > 0 {
		t.Errorf("%d temporary files are left", n)
	}
}

func (c *crash) signal(p *process, s syscall.Signal) {
	c.Helper()
	if err := p.Process.Signal(s); err != nil {
		c.Fatal(err)
	}
}
