package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace/ingest/broker"
)

// brokerProcess is a broker in a process of its own: its CPU time is nobody's.
type brokerProcess struct {
	addr string
	cmd  *exec.Cmd
	hold io.Closer // its standard input: closed, it ends
}

// serveBroker is the child's side: it says where it listens and serves until its input ends.
func serveBroker(ctx context.Context, dir string, in io.Reader, out io.Writer) error {
	b, err := broker.Open(ctx, broker.Options{Dir: dir, NoSync: true, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	defer b.Close()
	if _, err := fmt.Fprintln(out, b.Addr()); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, in)
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// broker starts the broker once and returns its address.
func (w *world) broker(ctx context.Context) (string, error) {
	if w.kafka != nil {
		return w.kafka.addr, nil
	}
	text, err := json.Marshal(Job{Work: "broker", Dir: filepath.Join(w.dir, "broker")})
	if err != nil {
		return "", err
	}
	cmd := w.command(ctx, 1)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	w.kafka = &brokerProcess{cmd: cmd, hold: in}
	if _, err := in.Write(append(text, '\n')); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("start a broker: %w", err)
	}
	w.kafka.addr = strings.TrimSpace(line)
	return w.kafka.addr, nil
}

func (b *brokerProcess) close() {
	b.hold.Close()
	_ = b.cmd.Wait() // its log lies in the scratch folder: how it ended does not matter
}
