package bench

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/cmd/cluster"
	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/schemas"
)

//go:embed sql
var scripts embed.FS

// EngineOptions say what Engines measures and how often.
type EngineOptions struct {
	Names   []string // rows; empty: all
	Repeat  int      // runs of each row
	Warm    int      // runs before them that do not count: JVMs grow fast by and by
	Events  int      // of a run
	Dir     string   // scratch; empty: a temporary folder
	Command []string // runs Child in a process: the program and its arguments
	Note    func(format string, args ...any)
	Profile string // folder for profiles of the last run of each row; empty: none
}

// EngineReport is what Engines measured.
type EngineReport struct {
	Machine string      `json:"machine"`
	Repeat  int         `json:"repeat"`
	Warm    int         `json:"warm"`
	Events  int         `json:"events"`
	Rows    []EngineRow `json:"rows"`
}

// EngineRow is one line of the table. Figures are medians.
type EngineRow struct {
	Name    string  `json:"name"`
	What    string  `json:"what"`
	Rate    float64 `json:"events_per_second"`       // on the wall's clock
	CPU     float64 `json:"cpu_seconds_per_million"` // of the engine and of our worker, without the broker
	Worker  float64 `json:"worker_cpu_seconds_per_million"`
	MaxRSS  int64   `json:"max_rss_bytes"`     // of the same processes
	Beside  string  `json:"beside,omitempty"`  // the row of the engine's own SQL
	Cheaper float64 `json:"cheaper,omitempty"` // its CPU over this one's
	Faster  float64 `json:"faster,omitempty"`  // this rate over its
	work    string  // a child's work; empty: a script of the engine's own SQL
	script  string  // in sql/
	runner  string  // of a child's work
	sql     string  // the engine that runs the script
	samples []*Sample
}

// engineRows are the rows in the order of the table. Prism has no SQL of its own: Flink's stands beside it for streams, Spark's
// for batches.
func engineRows() []EngineRow {
	return []EngineRow{
		{Name: "speed_prism", What: "millrace speed in one process", Beside: "speed_flink_sql", work: "engine-speed", runner: runner.Prism},
		{Name: "speed_flink", What: "millrace speed on Flink", Beside: "speed_flink_sql", work: "engine-speed", runner: runner.Flink},
		{Name: "speed_flink_sql", What: "Flink SQL, streaming", script: "flink-speed.sql", sql: cluster.FlinkSQL},
		{Name: "speed_spark_sql", What: "Spark Structured Streaming", script: "spark-speed.sql", sql: cluster.SparkSQL},
		{Name: "batch_prism", What: "millrace batch in one process", Beside: "batch_spark_sql", work: "engine-batch", runner: runner.Prism},
		{Name: "batch_flink", What: "millrace batch on Flink", Beside: "batch_flink_sql", work: "engine-batch", runner: runner.Flink},
		{Name: "batch_spark", What: "millrace batch on Spark", Beside: "batch_spark_sql", work: "engine-batch", runner: runner.Spark},
		{Name: "batch_flink_sql", What: "Flink SQL, batch", script: "flink-batch.sql", sql: cluster.FlinkSQL},
		{Name: "batch_spark_sql", What: "Spark SQL", script: "spark-batch.sql", sql: cluster.SparkSQL},
	}
}

// EngineNames lists the rows.
func EngineNames() []string {
	var out []string
	for _, r := range engineRows() {
		out = append(out, r.Name)
	}
	return out
}

// chooseEngines keeps the rows asked for and those beside them, all if none are.
func chooseEngines(names []string) ([]EngineRow, error) {
	if len(names) == 0 {
		return engineRows(), nil
	}
	asked := map[string]bool{}
	for _, name := range names {
		asked[name] = true
	}
	var out []EngineRow
	beside := map[string]bool{}
	for _, r := range engineRows() { // a row comes before the one beside it
		if asked[r.Name] || beside[r.Name] {
			beside[r.Beside] = true
			out = append(out, r)
		}
		delete(asked, r.Name)
	}
	for name := range asked {
		p := &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("there is no row %q", name), Hint: "there are " + strings.Join(EngineNames(), ", ")}
		if near := schemas.Nearest(name, EngineNames()); near != "" {
			p.Hint = "did you mean " + near + "?"
		}
		return nil, p
	}
	return out, nil
}

// cores is how many pieces of its work an engine runs side by side.
const cores = 2

// arena is what the rows run in: a Kafka, the engines, a scratch project.
type arena struct {
	*world
	o     EngineOptions
	kafka *cluster.KafkaCluster
	flink *cluster.FlinkCluster
	spark *cluster.SparkCluster
	sql   map[string]*cluster.SQL
	right int64 // the answer of the view, as a tally
}

// Engines measures millrace on prism, Flink and Spark beside those engines' own SQL, over one Kafka: every round has a run of
// each row. Errors: a row whose answer is not DuckDB's over the same lines.
func Engines(ctx context.Context, o EngineOptions) (report *EngineReport, err error) {
	rows, err := chooseEngines(o.Names)
	if err != nil {
		return nil, err
	}
	w, err := newWorld(ctx, Options{Dir: o.Dir, Command: o.Command, Events: o.Events, Note: o.Note})
	if err != nil {
		return nil, err
	}
	defer w.close()
	a := &arena{world: w, o: o, sql: map[string]*cluster.SQL{}}
	defer func() { err = errors.Join(err, a.stop()) }()
	if err := a.start(ctx, rows); err != nil {
		return nil, err
	}
	for round := range o.Warm + o.Repeat {
		for i := range rows {
			r := &rows[i]
			s, err := a.once(ctx, r, round)
			if err != nil {
				return nil, fmt.Errorf("bench %s: %w", r.Name, err)
			}
			if s.Check != a.right || s.Events != int64(o.Events) {
				return nil, fmt.Errorf("bench %s: it came to another answer than DuckDB (%x over %d events, want %x over %d)", r.Name, s.Check, s.Events, a.right, o.Events)
			}
			warm := ""
			if round < o.Warm {
				warm = ", to warm up"
			} else {
				r.samples = append(r.samples, s)
			}
			o.Note("%s: %s events/s, %.2f CPU-seconds for a million, %.2f of them in the worker%s", r.Name, human(float64(s.Events)/s.Seconds), s.million(s.CPUSeconds), s.million(s.CPUSeconds-s.ServerCPU), warm)
		}
	}
	return &EngineReport{Machine: machine(), Repeat: o.Repeat, Warm: o.Warm, Events: o.Events, Rows: summary(rows)}, nil
}

func (s *Sample) million(seconds float64) float64 { return seconds / float64(s.Events) * 1e6 }

// summary takes the medians and compares.
func summary(rows []EngineRow) []EngineRow {
	at := map[string]*EngineRow{}
	for i := range rows {
		r := &rows[i]
		at[r.Name] = r
		r.Rate = median(r.samples, func(s *Sample) float64 { return float64(s.Events) / s.Seconds })
		r.CPU = median(r.samples, func(s *Sample) float64 { return s.million(s.CPUSeconds) })
		r.Worker = median(r.samples, func(s *Sample) float64 { return s.million(s.CPUSeconds - s.ServerCPU) })
		r.MaxRSS = int64(median(r.samples, func(s *Sample) float64 { return float64(s.MaxRSS) }))
	}
	for i := range rows {
		if b := at[rows[i].Beside]; b != nil {
			rows[i].Cheaper, rows[i].Faster = b.CPU/rows[i].CPU, rows[i].Rate/b.Rate
		}
	}
	return rows
}

// start starts what the rows need, fills the topic and finds the right answer.
func (a *arena) start(ctx context.Context, rows []EngineRow) (err error) {
	if a.kafka, err = cluster.StartKafka(ctx, cluster.KafkaOptions{Dir: filepath.Join(a.dir, "kafka"), Heap: "1g", Tied: true, Note: a.o.Note}); err != nil {
		return err
	}
	for _, r := range rows {
		switch {
		case r.sql != "" && a.sql[r.sql] == nil:
			a.sql[r.sql], err = cluster.StartSQL(ctx, cluster.SQLOptions{Engine: r.sql, Dir: filepath.Join(a.dir, r.sql), Cores: cores, Heap: "1g", Note: a.o.Note})
		case r.runner == runner.Flink && a.flink == nil:
			a.flink, err = cluster.StartFlink(ctx, cluster.FlinkOptions{Dir: filepath.Join(a.dir, "flink"), Tied: true, Note: a.o.Note})
		case r.runner == runner.Spark && a.spark == nil:
			a.spark, err = cluster.StartSpark(ctx, cluster.SparkOptions{Dir: filepath.Join(a.dir, "spark"), Cores: cores, Tied: true, Note: a.o.Note})
		}
		if err != nil {
			return err
		}
	}
	a.o.Note("%d events go into Kafka", a.o.Events)
	for _, work := range []string{"file", "fill", "tally-file"} {
		j := a.job(work, 0)
		j.Brokers, j.Topic, j.File = a.kafka.Brokers, ads, a.linesOf(ads)
		s, err := a.run(ctx, j)
		if err != nil {
			return fmt.Errorf("%s: %w", work, err)
		}
		a.right = s.Check
	}
	return nil
}

func (a *arena) stop() error {
	var errs []error
	for _, s := range a.sql {
		errs = append(errs, s.Stop())
	}
	if a.flink != nil {
		errs = append(errs, a.flink.Stop())
	}
	if a.spark != nil {
		errs = append(errs, a.spark.Stop())
	}
	if a.kafka != nil {
		errs = append(errs, a.kafka.Stop())
	}
	return errors.Join(errs...)
}

// once is one run of a row.
func (a *arena) once(ctx context.Context, r *EngineRow, round int) (s *Sample, err error) {
	j := a.job(r.work, round)
	j.Brokers, j.Topic = a.kafka.Brokers, ads
	pid := 0
	switch {
	case r.sql != "":
		pid = a.sql[r.sql].PID()
	case r.runner == runner.Flink:
		pid = a.flink.JobServer.PID()
		j.Engine = runner.Engine{Runner: runner.Flink, Endpoint: a.flink.Endpoint, Parallelism: cores}
		if r.work == "engine-speed" {
			// A stream as `millrace speed` runs it, which ends where the topic ends.
			j.Engine.Settings = map[string]any{"streaming": true, "max_bundle_time_mills": 50, "checkpointing_interval": 1000, "finish_bundle_before_checkpointing": true,
				"number_of_execution_retries": 0, "shutdown_sources_after_idle_ms": 0}
		}
	case r.runner == runner.Spark:
		pid = a.spark.JobServer.PID()
		j.Engine = runner.Engine{Runner: runner.Spark, Endpoint: a.spark.Endpoint, Parallelism: cores}
	}
	if pid != 0 {
		j.Servers = []int{pid}
	}
	if a.o.Profile != "" && round == a.o.Warm+a.o.Repeat-1 {
		j.Profile = filepath.Join(a.o.Profile, r.Name+".pprof")
		if pid != 0 {
			stop, err := cluster.Watch(ctx, pid, filepath.Join(a.o.Profile, r.Name+".jfr"))
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, stop()) }()
		}
	}
	if r.sql == "" {
		return a.run(ctx, j)
	}
	return a.script(ctx, r, j)
}

// script is a run of an engine's own SQL, and what its answer comes to.
func (a *arena) script(ctx context.Context, r *EngineRow, j Job) (*Sample, error) {
	defer os.RemoveAll(j.Store)
	j.Kafka = fmt.Sprintf("%s-%d", r.Name, j.Run)
	if err := makeSink(ctx, j); err != nil {
		return nil, err
	}
	text, err := scripts.ReadFile("sql/" + r.script)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(a.dir, r.script)
	set := strings.NewReplacer("$BROKERS", strings.Join(j.Brokers, ","), "$TOPIC", j.Topic, "$SINK", j.Kafka, "$ADS", adsFile(j.Dir), "$OUT", j.Store)
	if err := os.WriteFile(file, []byte(set.Replace(string(text))), 0o644); err != nil {
		return nil, err
	}
	engine := servers{pids: j.Servers}
	if err := engine.start(); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := a.sql[r.sql].Run(file); err != nil {
		return nil, err
	}
	s := &Sample{Seconds: time.Since(began).Seconds(), Events: int64(a.o.Events)}
	if s.CPUSeconds, s.MaxRSS, err = engine.stop(); err != nil {
		return nil, err
	}
	s.ServerCPU = s.CPUSeconds
	j.Work = "tally-topic"
	if strings.HasPrefix(r.Name, "batch") {
		j.Work = "tally-parquet"
	}
	j.Servers, j.Profile = nil, ""
	found, err := a.run(ctx, j)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", j.Work, err)
	}
	if s.Check = found.Check; j.Work == "tally-parquet" {
		s.Events = found.Events
	}
	return s, nil
}

// makeSink makes the topic that a run of a stream writes to.
func makeSink(ctx context.Context, j Job) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(j.Brokers...))
	if err != nil {
		return err
	}
	defer client.Close()
	made, err := kadm.NewClient(client).CreateTopics(ctx, 4, -1, nil, j.Kafka)
	if err == nil {
		err = made.Error()
	}
	return err
}

// Human is the row's rate as a person reads it.
func (r EngineRow) Human() string { return human(r.Rate) }
