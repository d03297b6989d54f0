package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/millrace/millrace/schemas"
)

// SparkOptions say which Spark is wanted. Dir alone is needed.
type SparkOptions struct {
	Dir     string // holds logs, records and what executors write
	Workers int    // 0: Spark inside the job server; 1: a master and a worker
	Cores   int    // of the worker, or of the Spark inside the job server; 2 if 0
	Port    int    // the first of the ports; 0 takes free ones
	Tied    bool   // the processes end with this one (Linux)
	Note    Note
}

// SparkCluster is a running Spark with Beam's job server before it.
type SparkCluster struct {
	Endpoint string `json:"endpoint"`         // of the job server, host:port
	Master   string `json:"master,omitempty"` // what Spark programs are given, spark://host:port; empty if Spark is inside the job server
	UI       string `json:"ui,omitempty"`     // of the master, a URL; empty likewise

	JobServer     *Process `json:"-"`
	MasterProcess *Process `json:"-"` // nil if Spark is inside the job server
	WorkerProcess *Process `json:"-"` // likewise

	started []*Process
}

type sparkAsked struct {
	Workers int `json:"workers"`
	Cores   int `json:"cores"`
}

type sparkState struct {
	Ports []int `json:"ports"` // job server, artifacts, expansion, master, master's UI, worker, worker's UI
}

// sparkLog is how Spark's processes log.
const sparkLog = `status=error
appender.c.type=Console
appender.c.name=C
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d{HH:mm:ss} %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.c.ref=C
logger.b.name=org.apache.beam
logger.b.level=info
logger.m.name=org.apache.spark.deploy
logger.m.level=info
`

// StartSpark starts a Spark and its job server, or finds those that run in Dir, and waits until they are ready.
func StartSpark(ctx context.Context, o SparkOptions) (*SparkCluster, error) {
	if o.Cores == 0 {
		o.Cores = 2
	}
	if o.Workers < 0 || o.Workers > 1 {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("%d workers of Spark", o.Workers), Hint: "ask for 0, Spark inside the job server, or 1"}
	}
	program, jars, err := tools(ctx, Spark, o.Note)
	if err != nil {
		return nil, err
	}
	h, err := open(ctx, o.Dir, o.Tied, o.Note)
	if err != nil {
		return nil, err
	}
	defer h.unlock()
	state, err := recall(h, Spark, sparkAsked{o.Workers, o.Cores}, func() (s sparkState, err error) {
		s.Ports, err = takePorts(o.Port, 7)
		return s, err
	})
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"work", "tmp", "artifacts", "home"} {
		if err := os.MkdirAll(h.path(dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(os.WriteFile(h.path("log4j2.properties"), []byte(sparkLog), 0o644), h.sparkHome(jars)); err != nil {
		return nil, err
	}
	// Spark's web pages go by SPARK_LOCAL_IP, whatever host its processes are told.
	env := []string{"SPARK_LOCAL_IP=127.0.0.1", "SPARK_HOME=" + h.path("home"), "SPARK_SCALA_VERSION=2.12"}
	jvm := func(heap string, more ...string) []string {
		options := slices.Concat([]string{program, "-Xmx" + heap, "-XX:+UseSerialGC"}, openings(), []string{"-Djdk.reflect.useDirectMethodHandle=false",
			"-Dlog4j2.configurationFile=" + h.path("log4j2.properties"), "-Djava.io.tmpdir=" + h.path("tmp"),
			"-Dspark.driver.bindAddress=127.0.0.1", "-Dspark.driver.host=127.0.0.1", "-Dspark.ui.enabled=false", "-Dspark.local.dir=" + h.path("tmp"),
			"-Dspark.executor.extraClassPath=" + ownClasses(jars), "-cp", classPath(jars)})
		return append(options, more...)
	}
	s := &SparkCluster{Endpoint: loopback(state.Ports[0])}
	master := fmt.Sprintf("local[%d]", o.Cores)
	if o.Workers > 0 {
		s.Master, s.UI = "spark://"+loopback(state.Ports[3]), "http://"+loopback(state.Ports[4])
		master = s.Master
		s.MasterProcess, err = h.process("spark-master", jvm("256m", "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", fmt.Sprint(state.Ports[3]), "--webui-port", fmt.Sprint(state.Ports[4])), env,
			"I have been elected leader", state.Ports[3:5]...)
		if err != nil {
			return nil, err
		}
		s.WorkerProcess, err = h.process("spark-worker-1", jvm("256m", "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--port", fmt.Sprint(state.Ports[5]), "--webui-port", fmt.Sprint(state.Ports[6]),
			"-c", fmt.Sprint(o.Cores), "-m", "1500m", "-d", h.path("work"), master), env, "Successfully registered with master", state.Ports[5:]...)
		if err != nil {
			return nil, err
		}
	}
	s.JobServer, err = h.process("spark-jobserver", jvm("1g", "org.apache.beam.runners.spark.SparkJobServerDriver", "--job-host=127.0.0.1", fmt.Sprintf("--job-port=%d", state.Ports[0]),
		fmt.Sprintf("--artifact-port=%d", state.Ports[1]), fmt.Sprintf("--expansion-port=%d", state.Ports[2]), "--artifacts-dir="+h.path("artifacts"), "--spark-master-url="+master), env, "JobService started on", state.Ports[:3]...)
	if err != nil {
		return nil, err
	}
	if err := h.start(ctx, s.all()...); err != nil {
		return nil, err
	}
	s.started = h.started
	return s, h.write(addressFile, s)
}

// sparkHome makes the folder that executors take their class path from.
func (h *home) sparkHome(dir string) error {
	jars := h.path("home", "jars")
	if err := os.Remove(jars); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(filepath.Join(dir, "libs"), jars)
}

func (s *SparkCluster) all() []*Process {
	all := []*Process{s.JobServer}
	if s.MasterProcess != nil {
		all = append(all, s.MasterProcess, s.WorkerProcess)
	}
	return all
}

// Stop stops all processes.
func (s *SparkCluster) Stop() error { return stopAll(s.all()) }
