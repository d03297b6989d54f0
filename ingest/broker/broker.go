package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

// Options say where a broker keeps its log and where it listens.
type Options struct {
	Dir    string // created if needed
	Listen string // loopback host:port; empty or port 0: the port used last time, or any free one

	MaxBatch int64        // Bytes: the longest batch taken; 0: 64 MiB
	MinFree  int64        // Bytes that must be left on the disk; 0: 64 MiB; negative: no check
	NoSync   bool         // acknowledge what the operating system holds: survives a crash of the process, not of the machine
	Log      *slog.Logger // nil: slog.Default()
}

// Broker is one running broker that owns its directory. Concurrency: every method may be called at any time.
type Broker struct {
	o       Options
	cluster *kfake.Cluster
	lock    *os.File
	guard   *guard
	addr    string
	once    sync.Once
	err     error
}

const (
	defaultMaxBatch = 64 << 20
	defaultMinFree  = 64 << 20
	segmentBytes    = 32 << 20 // a start holds one segment a partition in memory
	openFile        = "open"
	portFile        = "port"
)

// Open takes the directory's lock, recovers what a crash left, and serves until Close.
//
// Errors: a *schemas.Problem of kind Environment if another process owns the directory (it names the process), the
// directory cannot be written, the port is in use or the log is damaged; of kind Usage if Listen is not loopback.
func Open(ctx context.Context, o Options) (*Broker, error) {
	if o.MaxBatch == 0 {
		o.MaxBatch = defaultMaxBatch
	}
	if o.MinFree == 0 {
		o.MinFree = defaultMinFree
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	host, port, err := loopback(o.Listen)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, dirProblem(o.Dir, err)
	}
	lock, err := lockDir(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	b := &Broker{o: o, lock: lock}
	if err := b.start(ctx, host, port); err != nil {
		lock.Close()
		return nil, err
	}
	return b, nil
}

func (b *Broker) start(ctx context.Context, host string, port int) error {
	dir := b.o.Dir
	if _, err := os.Stat(filepath.Join(dir, openFile)); err == nil {
		began := time.Now()
		rep, err := recoverDir(ctx, dir)
		if err != nil {
			return err
		}
		b.o.Log.Info("recovered the log after a crash", "partitions", rep.Partitions, "bytes", rep.Bytes, "cut", rep.Cut, "took", time.Since(began))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return dirProblem(dir, err)
	}
	if err := writeFile(filepath.Join(dir, openFile), nil); err != nil {
		return dirProblem(dir, err)
	}
	ln, err := listen(dir, host, port)
	if err != nil {
		return err
	}
	b.addr = ln.Addr().String()
	b.guard = &guard{dir: dir, log: b.o.Log, now: time.Now, last: newestAppend(dir)}
	b.guard.minFree.Store(b.o.MinFree)
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("millrace"),
		kfake.DataDir(dir),
		kfake.WithLogger(b.guard),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return &listener{Listener: ln}, nil }),
		kfake.BrokerConfigs(map[string]string{
			"log.retention.ms":           "-1",
			"log.retention.bytes":        "-1",
			"log.segment.bytes":          strconv.Itoa(segmentBytes),
			"log.message.timestamp.type": "LogAppendTime",
			"message.max.bytes":          strconv.FormatInt(b.o.MaxBatch, 10),
		}),
	}
	if !b.o.NoSync {
		opts = append(opts, kfake.SyncWrites())
	}
	if b.cluster, err = kfake.NewCluster(opts...); err != nil {
		ln.Close()
		return &schemas.Problem{Kind: schemas.Environment, File: dir, Message: "the embedded broker cannot start", Err: err,
			Hint: "look at the files it names; nothing was changed"}
	}
	debug.FreeOSMemory() // what reading the log took
	b.guard.cluster = b.cluster
	b.cluster.ControlKey(int16(kmsg.Produce), b.guard.produce)
	if err := writeOwner(b.lock, b.addr); err != nil {
		b.cluster.Close()
		return dirProblem(dir, err)
	}
	if _, p, err := net.SplitHostPort(b.addr); err == nil {
		if err := writeFile(filepath.Join(dir, portFile), []byte(p)); err != nil {
			b.o.Log.Warn("the broker's port is not remembered", "err", err)
		}
	}
	return nil
}

// Addr is the host:port that clients connect to.
func (b *Broker) Addr() string { return b.addr }

// Dir is the directory the broker owns.
func (b *Broker) Dir() string { return b.o.Dir }

// Fault is why the broker takes no more records: a write that failed. It is nil as long as all is well, and stays once
// it is set; the directory must be closed and opened again. A disk that is only too full is not a fault: see Full.
func (b *Broker) Fault() error { return b.guard.faulted() }

// Full says whether produce requests are refused at present because the disk has less than Options.MinFree left.
func (b *Broker) Full() bool { return b.guard.full.Load() }

// Close stops serving, makes the state durable and gives the directory free. It may be called more than once.
func (b *Broker) Close() error {
	b.once.Do(func() {
		b.cluster.Close()
		// A state that could not be saved is recovered from the log at the next start.
		if b.guard.faulted() == nil {
			b.err = os.Remove(filepath.Join(b.o.Dir, openFile))
		}
		if err := b.lock.Close(); b.err == nil {
			b.err = err
		}
	})
	return b.err
}

func loopback(listen string) (host string, port int, err error) {
	if listen == "" {
		return "127.0.0.1", 0, nil
	}
	bad := func(msg string) error {
		return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("broker address %q %s", listen, msg), Hint: "use 127.0.0.1:PORT; for other machines point brokers: at a Kafka cluster"}
	}
	host, p, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, bad("is not host:port")
	}
	if port, err = strconv.Atoi(p); err != nil || port < 0 || port > 65535 {
		return "", 0, bad("has no port number")
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", 0, bad("is not a loopback address, and the embedded broker has no authentication")
	}
	return host, port, nil
}

func listen(dir, host string, port int) (net.Listener, error) {
	if port == 0 {
		if last, err := os.ReadFile(filepath.Join(dir, portFile)); err == nil {
			if ln, err := net.Listen("tcp", net.JoinHostPort(host, string(last))); err == nil {
				return ln, nil
			}
		}
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		hint := "choose another port"
		if errors.Is(err, syscall.EADDRINUSE) {
			hint = "another program listens there: stop it or choose another port"
		}
		return nil, &schemas.Problem{Kind: schemas.Environment, Message: "the embedded broker cannot listen", Err: err, Hint: hint}
	}
	return ln, nil
}

func dirProblem(dir string, err error) error {
	hint := "check that the folder exists and can be written"
	switch {
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		hint = "make the folder writable for this user, or choose another"
	case errors.Is(err, syscall.ENOSPC):
		hint = "free some space on the disk"
	}
	return &schemas.Problem{Kind: schemas.Environment, File: dir, Message: "the broker's folder cannot be used", Err: err, Hint: hint}
}

// writeFile replaces a small file whole or not at all, durably.
func writeFile(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
