package cluster

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// FlinkOptions say which Flink is wanted. Dir alone is needed.
type FlinkOptions struct {
	Dir          string            // holds checkpoints, savepoints, logs and records
	TaskManagers int               // 0: Flink inside the job server, which is new for each job; else a cluster of a jobmanager and so many taskmanagers
	Slots        int               // of a taskmanager; 4 if 0
	Port         int               // the first of the ports; 0 takes free ones
	Config       map[string]string // more of Flink's configuration
	Tied         bool              // the processes end with this one (Linux)
	Note         Note
}

// FlinkCluster is a running Flink with Beam's job server before it. A jobmanager that is killed and started again has
// forgotten its jobs: they must be submitted again.
type FlinkCluster struct {
	Endpoint string `json:"endpoint"`       // of the job server, host:port
	REST     string `json:"rest,omitempty"` // of the jobmanager, host:port; empty if Flink is inside the job server

	Checkpoints string `json:"checkpoints"` // a folder
	Savepoints  string `json:"savepoints"`  // a folder

	JobServer    *Process   `json:"-"`
	JobManager   *Process   `json:"-"` // nil if Flink is inside the job server
	TaskManagers []*Process `json:"-"`

	started []*Process
}

type flinkAsked struct {
	TaskManagers int `json:"taskmanagers"`
	Slots        int `json:"slots"`
}

type flinkState struct {
	Ports []int `json:"ports"` // job server, artifacts, expansion, REST, RPC, blobs
}

// StartFlink starts a Flink and its job server, or finds those that run in Dir, and waits until all slots are there.
func StartFlink(ctx context.Context, o FlinkOptions) (*FlinkCluster, error) {
	if o.Slots == 0 {
		o.Slots = 4
	}
	if o.TaskManagers < 0 || o.Slots < 0 {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: "fewer than no taskmanagers or slots", Hint: "give 0 taskmanagers for a Flink inside the job server"}
	}
	program, jars, err := tools(ctx, Flink, o.Note)
	if err != nil {
		return nil, err
	}
	h, err := open(ctx, o.Dir, o.Tied, o.Note)
	if err != nil {
		return nil, err
	}
	defer h.unlock()
	state, err := recall(h, Flink, flinkAsked{o.TaskManagers, o.Slots}, func() (s flinkState, err error) {
		s.Ports, err = takePorts(o.Port, 6)
		return s, err
	})
	if err != nil {
		return nil, err
	}
	f := &FlinkCluster{Endpoint: loopback(state.Ports[0]), Checkpoints: h.path("checkpoints"), Savepoints: h.path("savepoints")}
	if err := h.flinkConfig(o, state, f); err != nil {
		return nil, err
	}
	jvm := func(heap string, more ...string) []string {
		options := slices.Concat([]string{program, "-Xmx" + heap, "-XX:+UseSerialGC"}, openings(), []string{
			"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS", "-Djava.io.tmpdir=" + h.path("tmp"), "-cp", classPath(jars)})
		return append(options, more...)
	}
	master := "[local]"
	if o.TaskManagers > 0 {
		master = loopback(state.Ports[3])
		f.REST = master
		f.JobManager, err = h.process("flink-jobmanager", jvm("384m", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", "--configDir", h.path("conf")), nil,
			`Rest endpoint listening at[\s\S]*granted leadership`, state.Ports[3:]...)
		if err != nil {
			return nil, err
		}
		for i := range o.TaskManagers {
			options := jvm("512m", "org.apache.flink.runtime.taskexecutor.TaskManagerRunner", "--configDir", h.path("conf"))
			options = slices.Insert(options, 1, "-XX:MaxDirectMemorySize=512m")
			p, err := h.process(fmt.Sprintf("flink-taskmanager-%d", i+1), options, nil, "Successful registration at resource manager")
			if err != nil {
				return nil, err
			}
			f.TaskManagers = append(f.TaskManagers, p)
		}
	}
	server := jvm("1g", "org.apache.beam.runners.flink.FlinkJobServerDriver", "--job-host=127.0.0.1", fmt.Sprintf("--job-port=%d", state.Ports[0]),
		fmt.Sprintf("--artifact-port=%d", state.Ports[1]), fmt.Sprintf("--expansion-port=%d", state.Ports[2]), "--flink-master="+master, "--flink-conf-dir="+h.path("conf"), "--artifacts-dir="+h.path("artifacts"))
	f.JobServer, err = h.process("flink-jobserver", server, nil, "JobService started on", state.Ports[:3]...)
	if err != nil {
		return nil, err
	}
	if err := h.start(ctx, f.all()...); err != nil {
		return nil, err
	}
	f.started = h.started
	return f, h.write(addressFile, f)
}

// all are the processes that there are.
func (f *FlinkCluster) all() []*Process {
	all := []*Process{f.JobServer}
	if f.JobManager != nil {
		all = append(all, f.JobManager)
	}
	return append(all, f.TaskManagers...)
}

// Stop stops all processes.
func (f *FlinkCluster) Stop() error { return stopAll(f.all()) }

// flinkConfig writes the configuration that all of Flink's processes read.
func (h *home) flinkConfig(o FlinkOptions, state flinkState, f *FlinkCluster) error {
	set := map[string]string{
		"jobmanager.rpc.address": "127.0.0.1", "jobmanager.bind-host": "127.0.0.1",
		"taskmanager.host": "127.0.0.1", "taskmanager.bind-host": "127.0.0.1",
		"rest.address": "127.0.0.1", "rest.bind-address": "127.0.0.1",
		"taskmanager.numberOfTaskSlots": fmt.Sprint(o.Slots), "taskmanager.cpu.cores": "2",
		"taskmanager.memory.framework.heap.size": "64m", "taskmanager.memory.task.heap.size": "448m",
		"taskmanager.memory.framework.off-heap.size": "64m", "taskmanager.memory.task.off-heap.size": "64m",
		"taskmanager.memory.managed.size": "64m",
		// A batch of a few stages wants more than the default's number of network buffers.
		"taskmanager.memory.network.min": "256m", "taskmanager.memory.network.max": "256m",
		"taskmanager.memory.jvm-metaspace.size": "192m", "taskmanager.memory.jvm-overhead.min": "64m", "taskmanager.memory.jvm-overhead.max": "64m",
		"state.backend.type": "hashmap", "state.checkpoints.dir": "file://" + f.Checkpoints, "state.savepoints.dir": "file://" + f.Savepoints,
		"execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
		"restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "100", "restart-strategy.fixed-delay.delay": "1 s",
		"heartbeat.timeout": "6000", "heartbeat.interval": "1000",
		"io.tmp.dirs": h.path("tmp"),
		// The taskmanagers have the classes that a job brings along.
		"classloader.resolve-order": "parent-first",
	}
	if o.TaskManagers > 0 {
		set["rest.port"], set["jobmanager.rpc.port"], set["blob.server.port"] = fmt.Sprint(state.Ports[3]), fmt.Sprint(state.Ports[4]), fmt.Sprint(state.Ports[5])
	} else {
		// Every job has a Flink of its own then, so its ports cannot be fixed.
		set["rest.bind-port"] = "0"
	}
	for key, value := range o.Config {
		set[key] = value
	}
	var lines []string
	for key, value := range set {
		lines = append(lines, key+": "+value+"\n")
	}
	slices.Sort(lines)
	for _, dir := range []string{"conf", "tmp", "checkpoints", "savepoints", "artifacts"} {
		if err := os.MkdirAll(h.path(dir), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(h.path("conf", "flink-conf.yaml"), []byte(strings.Join(lines, "")), 0o644)
}
