package millrace_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
	"github.com/millrace/millrace/testdata"
)

var crashSeed = flag.Uint64("crash.seed", 0, "seed of TestKilledAnywhere; 0 is another one each time")

const (
	crashLines = 6_000 // of one input file
	crashRate  = 5_000 // lines a second: longer than a batch cycle's turn, so that there is time to be killed in
)

// crash is the real program on the flights project, and what must be in its answers.
type crash struct {
	*testing.T
	rng    *rand.Rand
	binary string
	dir    string
	log    *kafkalog.Log
	up     *process

	flights [][]byte
	files   []string // input files ever begun; file i holds ids [i, i+1) * crashLines
	edits   int
	whole   map[int]bool     // files whose ingest exited with 0: every line of them is acknowledged
	seen    schemas.Frontier // the log's end as a client saw it last: those records can never go
}

// process is a running millrace.
type process struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
	done           chan error
}

// The whole program is killed with -9 at random moments of ingest, speed, batch and rebuild, while a view changes again and
// again and its partials are made over history. After every restart and at the end each acknowledged record is in the answer once, nothing a client saw in the log is gone, fsck and verify are clean.
func TestKilledAnywhere(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 4
	}
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-crash.seed=%d", seed)
	c := openCrash(t, seed)
	c.start()
	for n := 0; n < kills; {
		if c.round(n) {
			n++
		}
	}
	for file := range c.files {
		if !c.whole[file] {
			c.finish(file, c.ingest(file))
		}
	}
	c.prove("")
	if err := c.up.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-c.up.done; err != nil {
		t.Fatalf("up on SIGTERM: %v\n%s", err, c.up.stderr.String())
	}
	c.up.done = make(chan error)
	c.must("batch", "flights")
	c.prove("") // without a daemon, and with nothing left above the frontier
}

// binary builds millrace, once for all tests; TestMain removes it.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "millrace-test-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	path := filepath.Join(dir, "millrace")
	if out, err := exec.Command("go", "build", "-tags=duckdb_arrow", "-o", path, "./cmd/millrace").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

var binaryDir string // empty: nothing was built

func openCrash(t *testing.T, seed uint64) *crash {
	t.Helper()
	c := &crash{T: t, rng: rand.New(rand.NewPCG(seed, 1)), dir: filepath.Join(t.TempDir(), "flights"), whole: map[int]bool{}, seen: schemas.Frontier{}}
	var err error
	if c.binary, err = binary(); err != nil {
		t.Fatal(err)
	}
	example, err := testdata.Example("flights")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(c.dir, example); err != nil {
		t.Fatal(err)
	}
	// One address over all lives of the broker, so that an ingest outlives a kill of `up`.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	config := fmt.Sprintf("listen: 127.0.0.1:0\nbatch: {every: 1s}\nkafka: {listen: %q}\n", l.Addr())
	if err := os.WriteFile(filepath.Join(c.dir, "millrace.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if c.log, err = kafkalog.Open(kafkalog.Config{Brokers: []string{l.Addr().String()}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.log.Close() })
	if c.flights, err = testdata.Flights(); err != nil {
		t.Fatal(err)
	}
	return c
}

// begin starts millrace.
func (c *crash) begin(args ...string) *process {
	c.Helper()
	p := &process{Cmd: exec.CommandContext(c.Context(), c.binary, append([]string{"-C", c.dir}, args...)...), done: make(chan error, 1)}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	if err := p.Start(); err != nil {
		c.Fatal(err)
	}
	go func() { p.done <- p.Wait() }()
	return p
}

// must runs millrace and wants exit code 0.
func (c *crash) must(args ...string) string {
	c.Helper()
	p := c.begin(args...)
	if err := <-p.done; err != nil {
		c.Fatalf("millrace %s: %v\n%s%s", strings.Join(args, " "), err, p.stdout.String(), p.stderr.String())
	}
	return p.stdout.String()
}

// start runs `up` and waits for the line that says it is ready.
func (c *crash) start() {
	c.Helper()
	p := &process{Cmd: exec.CommandContext(c.Context(), c.binary, "-C", c.dir, "up"), done: make(chan error, 1)}
	p.Stderr = &p.stderr
	out, err := p.StdoutPipe()
	if err != nil {
		c.Fatal(err)
	}
	if err := p.Start(); err != nil {
		c.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	ready := lines.Scan()
	go func() {
		for lines.Scan() {
		}
		p.done <- p.Wait()
	}()
	if !ready {
		c.Fatalf("up did not come up: %v\n%s", <-p.done, p.stderr.String())
	}
	c.up = p
}

// ingest begins to put a file in; one that is new is written first. The id lets a later run go on.
func (c *crash) ingest(file int, more ...string) *process {
	c.Helper()
	if file == len(c.files) {
		var lines bytes.Buffer
		for i := range crashLines {
			id := file*crashLines + i
			flight := c.flights[id%len(c.flights)]
			fmt.Fprintf(&lines, "%s,\"id\":%d}\n", bytes.TrimSuffix(flight, []byte("}")), id)
		}
		path := filepath.Join(c.dir, fmt.Sprintf("input-%d.ndjson", file))
		if err := os.WriteFile(path, lines.Bytes(), 0o644); err != nil {
			c.Fatal(err)
		}
		c.files = append(c.files, path)
	}
	return c.begin(append([]string{"-q", "ingest", "flights", c.files[file], "--id", fmt.Sprintf("file-%d", file), "--rate", strconv.Itoa(crashRate)}, more...)...)
}

func (c *crash) finish(file int, p *process) {
	c.Helper()
	if err := <-p.done; err != nil {
		c.Fatalf("ingest of file %d: %v\n%s", file, err, p.stderr.String())
	}
	c.whole[file] = true
}

// progress is what can be seen of the program from outside.
type progress struct {
	records, slices int64 // in the log
	speed           bool  // the speed layer has made its topic
	files, commits  int   // in the store
}

func (c *crash) look() progress {
	var p progress
	// A broker that was just killed, or is not up yet, has nothing to show.
	ctx, cancel := context.WithTimeout(c.Context(), 2*time.Second)
	defer cancel()
	if _, end, err := c.log.Offsets(ctx, "flights"); err == nil {
		for part, to := range end {
			p.records += to
			c.seen[part] = max(c.seen[part], to)
		}
	}
	if _, end, err := c.log.Offsets(ctx, slice.Topic("flights")); err == nil {
		p.speed = true
		for _, to := range end {
			p.slices += to
		}
	}
	err := filepath.WalkDir(filepath.Join(c.dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			p.files++
			if strings.HasSuffix(path, ".manifest") {
				p.commits++
			}
		}
		return nil // what is renamed while one looks is seen the next time
	})
	if err != nil {
		c.Fatal(err)
	}
	return p
}

// moment is when to kill: once something has grown by more than a random number below most.
type moment struct {
	name string
	of   func(progress) int64
	most int64
}

var (
	inRecords = moment{"records", func(p progress) int64 { return p.records }, crashLines * 3 / 4}
	inFiles   = moment{"files", func(p progress) int64 { return int64(p.files) }, 40} // a cycle makes up to 45
	inCommits = moment{"commits", func(p progress) int64 { return int64(p.commits) }, 1}
	inSlices  = moment{"slices", func(p progress) int64 { return p.slices }, 40} // a bundle makes up to 40
)

// round puts one file in, kills something on the way and proves that nothing is lost or doubled. It says whether the
// victim was still alive when it was killed.
func (c *crash) round(n int) bool {
	c.Helper()
	file := len(c.files)
	for f := range c.files { // one whose ingest was killed goes on
		if !c.whole[f] {
			file = f
		}
	}
	c.edit()
	before := c.look()
	victim := []string{"up", "up", "ingest", "batch", "rebuild"}[n%5]
	moments := []moment{inRecords, inFiles, inCommits}
	if before.speed {
		moments = append(moments, inSlices)
	}
	switch victim {
	case "ingest":
		moments = []moment{inRecords}
	case "batch", "rebuild":
		moments = []moment{inFiles}
	}
	m := moments[c.rng.IntN(len(moments))]
	point := c.rng.Int64N(m.most)
	ingest := c.ingest(file)
	killed := map[string]*process{"up": c.up, "ingest": ingest}[victim]
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	now := before
	for killed == nil || m.of(now)-m.of(before) <= point && len(killed.done) == 0 {
		<-tick.C
		now = c.look()
		if killed == nil && (now.records > before.records+crashLines/4 || len(ingest.done) > 0) {
			killed, before = c.begin(map[string][]string{"batch": {"batch", "flights"}, "rebuild": {"rebuild", "--all"}}[victim]...), now
		}
		if m.name == inRecords.name && len(ingest.done) > 0 {
			break // it went on with the last lines of its file
		}
	}
	ended := len(ingest.done) > 0
	_ = killed.Process.Kill() // it may have ended by itself
	err := <-killed.done
	dead := fmt.Sprint(err) == "signal: killed"
	c.Logf("kill %d (%t): %s by %s after %d records, %d files, %d commits, %d slices; ingest of file %d done: %t", n+1, dead, victim,
		m.name, now.records-before.records, now.files-before.files, now.commits-before.commits, now.slices-before.slices, file, ended)
	if victim == "up" {
		c.start()
	}
	if victim != "ingest" {
		c.finish(file, ingest)
	} else if err == nil {
		c.whole[file] = true
	}
	views := []string{"changing", "bands", "busiest_routes", "daily", "delays", "hours", "reach", "reliable", "spread", "states", "weekend_hops"}
	c.prove(views[c.rng.IntN(len(views))])
	return dead
}

// edit gives a view another definition: what was made of it is of no use any more.
func (c *crash) edit() {
	c.Helper()
	c.edits++
	sql := fmt.Sprintf("SELECT origin, date_trunc('day', date) AS day, count(*) + %d AS n, sum(delay) AS delay FROM flights GROUP BY ALL", c.edits)
	if err := os.WriteFile(filepath.Join(c.dir, "views", "changing.sql"), []byte(sql), 0o644); err != nil {
		c.Fatal(err)
	}
}

// prove compares the answers with what was acknowledged; view is the one to verify, all of them if it is empty.
func (c *crash) prove(view string) {
	c.Helper()
	if len(c.up.done) > 0 {
		c.Fatalf("up ended by itself: %v\n%.20000s", <-c.up.done, c.up.stderr.String())
	}
	counts := map[int]int{}
	answer := c.must("query", "-f", "csv", "SELECT _partition, _offset, _extra->>'$.id' AS id FROM flights")
	rows, err := csv.NewReader(strings.NewReader(answer)).ReadAll()
	if err != nil {
		c.Fatal(err)
	}
	end := schemas.Frontier{}
	for _, row := range rows[1:] {
		partition, offset, id := number(c, row[0]), number(c, row[1]), number(c, row[2])
		end[int32(partition)] = max(end[int32(partition)], int64(offset)+1)
		counts[id]++
	}
	for part, to := range c.seen {
		if end[part] < to {
			c.Errorf("flights[%d] ended at %d before and ends at %d now", part, to, end[part])
		}
	}
	doubled, lost := 0, 0
	for id, n := range counts {
		if n > 1 {
			doubled++
		}
		if id < 0 || id >= len(c.files)*crashLines {
			c.Errorf("nobody sent %d", id)
		}
	}
	for file := range c.files {
		for i := range crashLines {
			if c.whole[file] && counts[file*crashLines+i] == 0 {
				lost++
			}
		}
	}
	if doubled+lost > 0 {
		c.Errorf("%d records are in the answer more than once, %d acknowledged ones are not in it", doubled, lost)
	}
	if sum := strings.TrimSpace(strings.TrimPrefix(c.must("query", "-f", "csv", "SELECT sum(flights)::BIGINT AS n FROM delays"), "n\n")); sum != strconv.Itoa(len(rows)-1) {
		c.Errorf("the merged view counts %s flights, the topic holds %d", sum, len(rows)-1)
	}
	var found struct {
		Topics []struct{ Damage []string }
	}
	if err := json.Unmarshal([]byte(c.must("fsck", "--json")), &found); err != nil || len(found.Topics) != 1 || len(found.Topics[0].Damage) > 0 {
		c.Errorf("fsck: %+v, %v", found, err)
	}
	verify := []string{"verify"}
	if view != "" {
		verify = append(verify, view)
	}
	c.must(verify...)
	if c.Failed() {
		c.FailNow()
	}
}

func number(c *crash, text string) int {
	c.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		c.Fatal(errors.Join(err, fmt.Errorf("not a number: %q", text)))
	}
	return n
}
