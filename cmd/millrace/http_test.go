package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// process is a running millrace.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string // of its HTTP
	errs bytes.Buffer
}

// started runs a verb that serves and waits until it says where.
func started(t *testing.T, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: &exec.Cmd{Path: exe, Args: append([]string{"millrace"}, args...)}}
	p.cmd.Stderr = &p.errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, after, ok := strings.Cut(lines.Text(), "http://"); ok {
			p.url = "http://" + strings.TrimRight(strings.FieldsFunc(after, func(r rune) bool { return strings.ContainsRune(" ;,", r) })[0], "/")
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return p
		}
	}
	p.end(syscall.SIGKILL)
	t.Fatalf("%v said no address: %s", args, p.errs.String())
	return nil
}

// end sends the signal and gives the exit code; it may be called again.
func (p *process) end(signal syscall.Signal) int {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Signal(signal)
		_ = p.cmd.Wait()
	}
	return p.cmd.ProcessState.ExitCode()
}

// post sends a body; headers are given as "Name: value". The code is 0 if there was no answer.
func (p *process) post(path, body string, headers ...string) (code int, answer string) {
	req, err := http.NewRequest(http.MethodPost, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// asked is the CSV rows of a question, or its problem.
func (p *process) asked(sql string) string {
	body, err := json.Marshal(map[string]string{"sql": sql})
	if err != nil {
		p.t.Fatal(err)
	}
	_, answer := p.post("/v1/query", string(body), "Accept: text/csv")
	_, rows, ok := strings.Cut(answer, "\n")
	if !ok || strings.HasPrefix(answer, "{") {
		return answer
	}
	return strings.TrimSpace(rows)
}

// events writes a project with one topic that listens wherever a port is free.
func events(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	put(t, dir, "millrace.yaml", "listen: 127.0.0.1:0\n")
	put(t, dir, "topics/events.yaml", "partitions: 3\nkey: k\nfields: {k: VARCHAR NOT NULL, n: INTEGER}\n")
	put(t, dir, "views/counts.sql", "SELECT k, count(*) AS n FROM events GROUP BY k")
	return dir
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const eventsPath = "/v1/topics/events/records"

func TestUpAnswersFromTheFilesAsTheyAre(t *testing.T) {
	dir := events(t)
	up := started(t, "-C", dir, "up")
	if code, body := up.post(eventsPath, `{"k":"a","n":1}`+"\n"+`{"k":"a","n":2}`); code != 200 {
		t.Fatal(code, body)
	}
	if got := up.asked("SELECT * FROM counts"); got != "a,2" {
		t.Errorf("counts: %s", got)
	}
	put(t, dir, "views/sums.sql", "SELECT k, sum(n) AS n FROM events GROUP BY k")
	if got := up.asked("SELECT * FROM sums"); got != "a,3" {
		t.Errorf("a view added a moment ago: %s", got)
	}
	put(t, dir, "topics/orders.yaml", "fields: {id: INTEGER}\n")
	if got := up.asked("SELECT count(*) FROM orders"); got != "0" {
		t.Errorf("a topic added a moment ago: %s", got)
	}
	if code, body := up.post("/v1/topics/orders/records", `{"id":1}`); code != 200 {
		t.Errorf("into it: %d %s", code, body)
	}
	// A file that is wrong does not stand in the way of the others, and is named where it may be the cause.
	put(t, dir, "views/sums.sql", "SELECT nothing FROM events")
	if got := up.asked("SELECT * FROM counts"); got != "a,2" {
		t.Errorf("counts beside a wrong view: %s", got)
	}
	if got := up.asked("SELECT * FROM sums"); !strings.Contains(got, "views/sums.sql") || !strings.Contains(got, `"status":400`) {
		t.Errorf("the wrong view: %s", got)
	}
	put(t, dir, "topics/broken.yaml", "feilds: {}\n")
	if code, body := up.post(eventsPath, `{"k":"b"}`); code != 200 {
		t.Errorf("beside a wrong topic: %d %s", code, body)
	}
	if code := up.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d: %s", code, up.errs.String())
	}
}

func TestServeBesideUp(t *testing.T) {
	dir := events(t)
	up := started(t, "-C", dir, "up")
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"-C", dir, "serve"}, nil, &out, &errs); code != 3 || !strings.Contains(errs.String(), up.url) {
		t.Errorf("serve without --listen: exit code %d: %s", code, errs.String())
	}
	if code := run(t.Context(), []string{"-C", dir, "serve", "--listen", strings.TrimPrefix(up.url, "http://")}, nil, &out, &errs); code != 3 || !strings.Contains(errs.String(), "--listen") && !strings.Contains(errs.String(), "listen on") {
		t.Errorf("serve on up's port: exit code %d: %s", code, errs.String())
	}
	serve := started(t, "-C", dir, "serve", "--listen", "127.0.0.1:0")
	code, first := serve.post(eventsPath, `{"k":"a","n":1}`, "Idempotency-Key: x")
	if code != 200 {
		t.Fatal(code, first)
	}
	// One key at two servers is one request.
	if code, again := up.post(eventsPath, `{"k":"a","n":1}`, "Idempotency-Key: x"); code != 200 || again != first {
		t.Errorf("the same key at the other server: %d %s", code, again)
	}
	if a, b := up.asked("SELECT * FROM counts"), serve.asked("SELECT * FROM counts"); a != "a,1" || b != a {
		t.Errorf("up says %s, serve says %s", a, b)
	}
	// A question in flight is answered before serve ends.
	answered := make(chan string, 1)
	go func() {
		answered <- serve.asked("SELECT count(*) FROM range(20000) a(i), range(20000) b(j) WHERE (i * j) % 7 = 3")
	}()
	for _, metrics := serve.get("/metrics"); !strings.Contains(metrics, "millrace_queries_running 1"); _, metrics = serve.get("/metrics") {
	}
	if code := serve.end(syscall.SIGTERM); code != 0 {
		t.Errorf("serve ended with %d: %s", code, serve.errs.String())
	}
	if got := <-answered; !strings.HasPrefix(got, "4") || strings.Contains(got, "status") {
		t.Errorf("the question in flight: %s", got)
	}
	if code, _ := up.get("/readyz"); code != 200 {
		t.Errorf("up is not ready: %d", code)
	}
	// One that would take hours is cut off, and never answered as if it were whole.
	go func() {
		code, body := up.post("/v1/query", `{"sql":"SELECT sum(a.i * b.i) FROM range(10000000) a(i), range(10000000) b(i)"}`)
		answered <- fmt.Sprint(code, body)
	}()
	for _, metrics := up.get("/metrics"); !strings.Contains(metrics, "millrace_queries_running 1"); _, metrics = up.get("/metrics") {
	}
	if code := up.end(syscall.SIGTERM); code != 0 || !strings.Contains(up.errs.String(), "cut off") {
		t.Errorf("up ended with %d: %s", code, up.errs.String())
	}
	if got := <-answered; strings.HasPrefix(got, "200") {
		t.Errorf("the question that was cut off: %s", got)
	}
}

func (p *process) get(path string) (code int, answer string) {
	resp, err := http.Get(p.url + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// A client that retries each request under its own key until it is answered has every record in the log once, however
// often the server is killed.
func TestKilledUpKeepsARequestWithAKeyOnce(t *testing.T) {
	dir := events(t)
	current := make(chan *process, 1)
	current <- started(t, "-C", dir, "up")
	const kills, records = 3, 40
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		request := 0
		for ; ctx.Err() == nil; request++ {
			var body strings.Builder
			for i := range records {
				fmt.Fprintf(&body, `{"k":"key %d","n":%d}`+"\n", i%11, request)
			}
			for {
				up := <-current
				current <- up
				if code, _ := up.post(eventsPath, body.String(), fmt.Sprintf("Idempotency-Key: request %d", request)); code == 200 {
					break
				}
			}
		}
		done <- request
	}()
	for range kills {
		up := <-current
		current <- up
		killAfterSome(t, up)
		<-current
		current <- started(t, "-C", dir, "up")
	}
	stop()
	requests := <-done
	up := <-current
	if got := up.asked("SELECT count(*), min(c), max(c) FROM (SELECT n, count(*) AS c FROM events GROUP BY n)"); got != fmt.Sprintf("%d,%d,%d", requests, records, records) {
		t.Errorf("requests, and the fewest and most records of one: %s, want %d,%d,%d", got, requests, records, records)
	}
}

// killAfterSome kills the process once it has appended some more.
func killAfterSome(t *testing.T, p *process) {
	t.Helper()
	before := p.asked("SELECT count(*) FROM events")
	for p.asked("SELECT count(*) FROM events") == before {
	}
	p.end(syscall.SIGKILL)
}
