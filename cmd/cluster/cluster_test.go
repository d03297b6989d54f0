package cluster

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/schemas"
)

// folder is an engine's folder that is open for the test.
func folder(t *testing.T, dir string) *home {
	t.Helper()
	h, err := open(t.Context(), dir, true, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.unlock)
	return h
}

func process(t *testing.T, h *home, name, script string, ports ...int) *Process {
	t.Helper()
	p, err := h.process(name, []string{"/bin/sh", "-c", script}, nil, "ready", ports...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestAProcessIsFoundAgainByItsRecord(t *testing.T) {
	h := folder(t, filepath.Join(t.TempDir(), Kafka))
	script := "echo ready; sleep 600"
	p := process(t, h, "one", script)
	if err := h.start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	again := process(t, h, "one", script)
	if again.PID() != p.PID() || p.PID() == 0 {
		t.Fatalf("found process %d, started %d", again.PID(), p.PID())
	}
	pid := p.PID()
	if err := again.Start(t.Context()); err != nil || again.PID() != pid {
		t.Errorf("a running process was started again: %d, then %d (%v)", pid, again.PID(), err)
	}
	if err := again.Stop(); err != nil {
		t.Fatal(err)
	}
	if p.Running() || again.Running() {
		t.Error("it runs after it was stopped")
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.PID() == pid || p.PID() == 0 {
		t.Errorf("process %d after %d", p.PID(), pid)
	}
}

// A record whose process id now is another process' does nothing to that one.
func TestAnotherProcessOfTheSameIDIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	h := folder(t, filepath.Join(dir, Flink))
	p := process(t, h, "one", "echo ready; sleep 600")
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var l life
	text, err := os.ReadFile(p.record)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &l); err != nil {
		t.Fatal(err)
	}
	l.Started += "0"
	if err := h.write("another"+recordSuffix, &l); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p.record); err != nil {
		t.Fatal(err)
	}
	h.unlock()
	r, err := Status(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Processes) != 1 || r.Processes[0].Running {
		t.Errorf("status says %+v", r.Processes)
	}
	n, err := Down(t.Context(), dir, nil, false, t.Logf)
	if err != nil || n != 0 {
		t.Errorf("%d stopped (%v)", n, err)
	}
	if !p.Running() {
		t.Error("a process of another record was ended")
	}
}

// Stopping a process ends what it has started, and does not wait for ever for one that will not go.
func TestStopEndsChildrenToo(t *testing.T) {
	h := folder(t, t.TempDir())
	p := process(t, h, "one", "sleep 600 & echo child $!; echo ready; wait")
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	child := 0
	if _, err := fmt.Sscanf(string(log), "child %d", &child); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, runs := startTime(child); !runs {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the child lives on")
		}
	}
}

func TestWhatDoesNotComeUp(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	for name, c := range map[string]struct {
		script string
		ports  []int
		want   []string
	}{
		"ends":  {"echo no luck; exit 1", nil, []string{"ended before it was ready", "no luck", ".log"}},
		"bind":  {"echo java.net.BindException; exit 1", nil, []string{"a port that it wants is taken"}},
		"taken": {"echo ready; sleep 600", []int{port}, []string{fmt.Sprintf("port %d", port), "is taken"}},
	} {
		h := folder(t, t.TempDir())
		p := process(t, h, name, c.script, c.ports...)
		other := process(t, h, "other", "echo ready; sleep 600")
		err := h.start(t.Context(), p, other)
		if schemas.KindOf(err) != schemas.Environment {
			t.Errorf("%s: %v", name, err)
		}
		for _, text := range c.want {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v does not say %q", name, err, text)
			}
		}
		if p.Running() || other.Running() {
			t.Errorf("%s: something was left running", name)
		}
	}
}

func TestInterruptedStartLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := folder(t, t.TempDir())
	p := process(t, h, "slow", "echo begun; sleep 600")
	done := make(chan error)
	go func() { done <- h.start(ctx, p) }()
	for !exists(p.record) {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if p.Running() || exists(p.record) {
		t.Error("it was left")
	}
}

// Of many who want a folder of the cache one makes it; one that fails leaves nothing.
func TestOnce(t *testing.T) {
	cache := t.TempDir()
	if _, err := once(t.Context(), cache, "x", nil, func(string) error { return errors.New("no luck") }); err == nil || exists(filepath.Join(cache, "x")) || exists(filepath.Join(cache, "x.part")) {
		t.Errorf("a failure left something (%v)", err)
	}
	made := make(chan string, 8)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			dir, err := once(t.Context(), cache, "x", nil, func(dir string) error {
				made <- dir
				time.Sleep(20 * time.Millisecond)
				return os.WriteFile(filepath.Join(dir, "whole"), nil, 0o600)
			})
			if err != nil || !exists(filepath.Join(dir, "whole")) {
				t.Errorf("%s is not whole (%v)", dir, err)
			}
		})
	}
	all.Wait()
	if len(made) != 1 {
		t.Errorf("made %d times", len(made))
	}
}

// What is missing is said, with the next step.
func TestWhatIsMissing(t *testing.T) {
	t.Setenv(CacheEnv, t.TempDir())
	t.Setenv("JAVA_HOME", "")
	program := func(name, script string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	const sep = string(os.PathListSeparator)
	java17 := program("java", `echo 'openjdk version "17.0.1" 2021-10-19' >&2`)
	for _, c := range []struct{ path, want, hint string }{
		{t.TempDir(), "java is not here", "JAVA_HOME"},
		{program("java", `echo 'java version "1.8.0_292"' >&2`), "is Java 8", "17"},
		{program("java", `echo 'openjdk version "11.0.2"' >&2`), "is Java 11", "17"},
		{program("java", "echo broken; exit 1"), "broken", "JAVA_HOME"},
		{java17, "mvn is not here", "install Maven"},
		{java17 + sep + program("mvn", "echo '[ERROR] Unknown host'; exit 1"), "Unknown host", "reaches its repositories"},
		{java17 + sep + program("mvn", "exit 0"), "fetched nothing", "dependency:copy-dependencies"},
	} {
		t.Setenv("PATH", c.path)
		_, err := Fetch(t.Context(), []string{Kafka}, t.Logf)
		if schemas.KindOf(err) != schemas.Environment || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("got %v, want %q and %q", err, c.want, c.hint)
		}
	}
	if _, err := Fetch(t.Context(), []string{"kafak"}, nil); schemas.KindOf(err) != schemas.Usage {
		t.Errorf("got %v", err)
	}
}

// A folder keeps what it was made for.
func TestRecall(t *testing.T) {
	h := folder(t, t.TempDir())
	made := 0
	fresh := func() (int, error) { made++; return 40 + made, nil }
	for range 2 {
		if n, err := recall(h, Kafka, kafkaAsked{3, true}, fresh); err != nil || n != 41 {
			t.Errorf("got %d, %v", n, err)
		}
	}
	if _, err := recall(h, Kafka, kafkaAsked{1, true}, fresh); schemas.KindOf(err) != schemas.Usage {
		t.Errorf("got %v", err)
	}
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	if err := certificates(dir); err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{"broker.pem", "broker.pem"}, {"client.pem", "client-key.pem"}} {
		if _, err := tls.LoadX509KeyPair(filepath.Join(dir, pair[0]), filepath.Join(dir, pair[1])); err != nil {
			t.Errorf("%v: %v", pair, err)
		}
	}
}

func TestPorts(t *testing.T) {
	ports, err := kafkaPorts(KafkaOptions{Brokers: 3, Port: 20000})
	if err != nil || ports[0] != 20000 || ports[portsOfNode] != 20001 || ports[2*portsOfNode] != 20002 {
		t.Errorf("got %v, %v: the clients' ports come first", ports, err)
	}
	if _, err := takePorts(65530, 10); schemas.KindOf(err) != schemas.Usage {
		t.Errorf("got %v", err)
	}
}

func TestSettings(t *testing.T) {
	r := Report{Kafka: &KafkaCluster{Brokers: []string{"127.0.0.1:1", "127.0.0.1:2"}, User: "u", CA: "/c/ca.pem", PassFile: "/c/password"},
		Flink: &FlinkCluster{Endpoint: "127.0.0.1:3", REST: "127.0.0.1:4"}, Spark: &SparkCluster{Endpoint: "127.0.0.1:5"}}
	want := `brokers: [127.0.0.1:1, 127.0.0.1:2]
kafka:
  tls: {ca: "/c/ca.pem"}
  sasl: {mechanism: SCRAM-SHA-512, user: u, password_file: "/c/password"}
runner: flink
endpoint: 127.0.0.1:3
engine: {rest: "127.0.0.1:4"}
# or, for the batch layer, Spark:
# runner: spark
# endpoint: 127.0.0.1:5
`
	if got := r.Settings(); got != want {
		t.Errorf("got\n%s", got)
	}
}

// A process that is tied ends with the one that started it, also when that one is killed.
func TestTied(t *testing.T) {
	if dir := os.Getenv("MILLRACE_TEST_TIED"); dir != "" {
		h := folder(t, dir)
		p := process(t, h, "one", "echo ready; sleep 600")
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		fmt.Println("started")
		select {}
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ties processes")
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=TestTied$", "-test.v")
	cmd.Env = append(os.Environ(), "MILLRACE_TEST_TIED="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(dir, "one"+recordSuffix)
	var l *life
	for end := time.Now().Add(time.Minute); l == nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		l, _ = readLife(record)
	}
	if l == nil || !l.running() {
		t.Error("it was not started")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if l == nil {
		return
	}
	if err := l.gone(10 * time.Second); err != nil {
		t.Error(err)
	}
}
