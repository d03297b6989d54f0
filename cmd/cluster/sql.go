package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/millrace/millrace/schemas"
)

// What Fetch and StartSQL know beside the Engines: an engine's own SQL with its Kafka connector and Parquet, no Beam.
const (
	FlinkSQL = "flink-sql"
	SparkSQL = "spark-sql"
)

// SQLOptions say whose SQL is wanted.
type SQLOptions struct {
	Engine string // FlinkSQL or SparkSQL
	Dir    string // holds the log and what the engine writes
	Cores  int    // of Spark; Flink's scripts say it themselves
	Heap   string
	Note   Note
}

// SQL is an engine that runs scripts of its SQL one after the other in one process, which grows warm. java/FlinkSQL.java
// and java/SparkSQL.java say what a script is. It ends with the program that started it.
type SQL struct {
	Log string // the path of its log

	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// StartSQL starts the engine and waits until it takes scripts.
func StartSQL(ctx context.Context, o SQLOptions) (*SQL, error) {
	program, jars, err := tools(ctx, o.Engine, o.Note)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	s := &SQL{Log: filepath.Join(o.Dir, o.Engine+".log")}
	options := slices.Concat([]string{"-Xmx" + o.Heap, "-XX:+UseSerialGC"}, openings(), []string{"-Djava.io.tmpdir=" + o.Dir, "-cp", classPath(jars)})
	switch o.Engine {
	case FlinkSQL:
		options = append(options, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "FlinkSQL")
	case SparkSQL:
		logging := filepath.Join(o.Dir, "log4j2.properties")
		if err := os.WriteFile(logging, []byte(strings.Replace(sparkLog, "appender.c.type=Console", "appender.c.type=Console\nappender.c.target=SYSTEM_ERR", 1)), 0o644); err != nil {
			return nil, err
		}
		options = append(options, "-Dlog4j2.configurationFile="+logging, fmt.Sprintf("-Dspark.master=local[%d]", o.Cores), fmt.Sprintf("-Dspark.sql.shuffle.partitions=%d", o.Cores),
			"-Dspark.app.name=sql", "-Dspark.ui.enabled=false", "-Dspark.sql.session.timeZone=UTC", "-Dspark.sql.warehouse.dir="+filepath.Join(o.Dir, "warehouse"),
			"-Dspark.local.dir="+o.Dir, "-Dspark.driver.bindAddress=127.0.0.1", "-Dspark.driver.host=127.0.0.1", "SparkSQL")
	}
	log, err := os.Create(s.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.CommandContext(ctx, program, options...)
	s.cmd.Dir, s.cmd.Stderr = o.Dir, log
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.answer("ready"); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	o.Note.say("%s is up", o.Engine)
	return s, nil
}

// PID is the id of the engine's process.
func (s *SQL) PID() int { return s.cmd.Process.Pid }

// Run runs the script in a file to its end.
func (s *SQL) Run(script string) error {
	if _, err := fmt.Fprintln(s.in, script); err != nil {
		return err
	}
	return s.answer("done")
}

// answer waits for a word of the engine's; other lines are libraries that print.
func (s *SQL) answer(want string) error {
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			return &schemas.Problem{Kind: schemas.Environment, Message: "the engine ended", Err: err, Hint: "its log is " + s.Log}
		}
		line = strings.TrimSpace(line)
		if line == want {
			return nil
		}
		if reason, failed := strings.CutPrefix(line, "failed "); failed {
			return fmt.Errorf("%s (its log is %s)", reason, s.Log)
		}
	}
}

// Stop ends the engine.
func (s *SQL) Stop() error {
	s.in.Close()
	err := s.cmd.Wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return nil // by a signal: its work is done or given up
	}
	return err
}
