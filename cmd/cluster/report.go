package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/millrace/millrace/schemas"
)

// The first ports of the engines that Up starts.
const (
	KafkaPort = 19092
	FlinkPort = 18200
	SparkPort = 18300
)

// UpOptions say what Up starts.
type UpOptions struct {
	Dir          string   // each engine has a folder of its name in it
	Engines      []string // Kafka and Flink if empty
	Brokers      int      // of Kafka
	Secure       bool     // of Kafka
	TaskManagers int      // of Flink; 0: inside the job server
	Workers      int      // of Spark; 0: inside the job server
	FreePorts    bool     // any ports that are free in place of the engines' usual ones
	Note         Note
}

// Report says what there is in a folder.
type Report struct {
	Dir       string        `json:"dir"`
	Kafka     *KafkaCluster `json:"kafka,omitempty"`
	Flink     *FlinkCluster `json:"flink,omitempty"`
	Spark     *SparkCluster `json:"spark,omitempty"`
	Processes []Record      `json:"processes"`
}

// Record is a process that an engine's folder tells of.
type Record struct {
	Engine  string `json:"engine"`
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	Running bool   `json:"running"` // false: it has ended, and nobody stopped it
	Log     string `json:"log"`

	life *life
	path string
}

// Up starts engines that go on when this process ends, and reports them. What runs already is left as it is. If one does
// not come up, or ctx ends, those that this call has started are stopped.
func Up(ctx context.Context, o UpOptions) (*Report, error) {
	engines := o.Engines
	if len(engines) == 0 {
		engines = []string{Kafka, Flink}
	}
	for _, e := range engines {
		if !slices.Contains(Engines, e) {
			p := &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("there is no engine %q", e), Hint: "the engines are " + strings.Join(Engines, ", ")}
			if near := schemas.Nearest(e, Engines); near != "" {
				p.Hint = "did you mean " + near + "?"
			}
			return nil, p
		}
	}
	if _, err := Fetch(ctx, engines, o.Note); err != nil {
		return nil, err
	}
	port := func(first int) int {
		if o.FreePorts {
			return 0
		}
		return first
	}
	var started []*Process
	for _, e := range engines {
		var err error
		var here []*Process
		dir := filepath.Join(o.Dir, e)
		switch e {
		case Kafka:
			var k *KafkaCluster
			if k, err = StartKafka(ctx, KafkaOptions{Dir: dir, Brokers: o.Brokers, Secure: o.Secure, Port: port(KafkaPort), Note: o.Note}); err == nil {
				here = k.started
			}
		case Flink:
			var f *FlinkCluster
			if f, err = StartFlink(ctx, FlinkOptions{Dir: dir, TaskManagers: o.TaskManagers, Port: port(FlinkPort), Note: o.Note}); err == nil {
				here = f.started
			}
		case Spark:
			var s *SparkCluster
			if s, err = StartSpark(ctx, SparkOptions{Dir: dir, Workers: o.Workers, Port: port(SparkPort), Note: o.Note}); err == nil {
				here = s.started
			}
		}
		if err != nil {
			return nil, errors.Join(err, stopAll(started))
		}
		started = append(started, here...)
	}
	return Status(o.Dir)
}

// Status reports the engines of a folder that have processes, running ones or ones that ended without being stopped.
func Status(dir string) (*Report, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	r := &Report{Dir: dir, Processes: []Record{}}
	for _, engine := range Engines {
		records, err := records(dir, engine)
		if err != nil {
			return nil, err
		}
		r.Processes = append(r.Processes, records...)
		if !slices.ContainsFunc(records, func(p Record) bool { return p.Running }) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, engine, addressFile))
		if errors.Is(err, os.ErrNotExist) { // it is being started
			continue
		}
		if err == nil {
			switch engine {
			case Kafka:
				err = json.Unmarshal(text, &r.Kafka)
			case Flink:
				err = json.Unmarshal(text, &r.Flink)
			case Spark:
				err = json.Unmarshal(text, &r.Spark)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// records gives the processes of an engine's folder.
func records(dir, engine string) ([]Record, error) {
	paths, err := filepath.Glob(filepath.Join(dir, engine, "*"+recordSuffix))
	if err != nil {
		return nil, err
	}
	var out []Record
	for _, path := range paths {
		l, err := readLife(path)
		if err != nil {
			return nil, err
		}
		if l != nil {
			out = append(out, Record{Engine: engine, Name: strings.TrimSuffix(filepath.Base(path), recordSuffix), PID: l.PID, Running: l.running(), Log: l.Log, life: l, path: path})
		}
	}
	return out, nil
}

// Settings are the lines of millrace.yaml that point a project at what runs.
func (r *Report) Settings() string {
	var b strings.Builder
	if k := r.Kafka; k != nil {
		fmt.Fprintf(&b, "brokers: [%s]\n", strings.Join(k.Brokers, ", "))
		if k.User != "" {
			fmt.Fprintf(&b, "kafka:\n  tls: {ca: %q}\n  sasl: {mechanism: SCRAM-SHA-512, user: %s, password_file: %q}\n", k.CA, k.User, k.PassFile)
		}
	}
	comment := ""
	if f := r.Flink; f != nil {
		fmt.Fprintf(&b, "runner: flink\nendpoint: %s\n", f.Endpoint)
		if f.REST != "" {
			fmt.Fprintf(&b, "engine: {rest: %q}\n", f.REST)
		}
		comment = "# "
	}
	if s := r.Spark; s != nil {
		if comment != "" {
			b.WriteString("# or, for the batch layer, Spark:\n")
		}
		fmt.Fprintf(&b, "%[1]srunner: spark\n%[1]sendpoint: %[2]s\n", comment, s.Endpoint)
	}
	return b.String()
}

// Down stops the processes of engines in a folder, of all if none is named, and says how many there were. With wipe their
// folders go too, with all data.
func Down(ctx context.Context, dir string, engines []string, wipe bool, note Note) (int, error) {
	if len(engines) == 0 {
		engines = Engines
	}
	stopped := 0
	for _, engine := range engines {
		if !exists(filepath.Join(dir, engine, lockFile)) {
			continue
		}
		n, err := down(ctx, dir, engine, wipe, note)
		if err != nil {
			return stopped, err
		}
		stopped += n
	}
	return stopped, nil
}

func down(ctx context.Context, dir, engine string, wipe bool, note Note) (int, error) {
	h, err := open(ctx, filepath.Join(dir, engine), false, note)
	if err != nil {
		return 0, err
	}
	defer h.unlock()
	all, err := records(dir, engine)
	if err != nil {
		return 0, err
	}
	results := make(chan error)
	stopped := 0
	for _, r := range all {
		if r.Running {
			stopped++
		}
		go func() {
			err := r.life.end(syscall.SIGTERM, r.path)
			if err == nil && r.Running {
				note.say("%s is down", r.Name)
			}
			results <- err
		}()
	}
	for range all {
		err = errors.Join(err, <-results)
	}
	if err == nil && wipe {
		err = os.RemoveAll(h.dir)
	}
	return stopped, err
}
