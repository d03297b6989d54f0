package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/testdata"
)

// The topics of the scratch project: events of the Yahoo Streaming Benchmark's shape, and flights.
const (
	ads     = "ad_events"
	flights = "flights"
)

const (
	adCount       = 1000
	campaignCount = 100
)

const adTopic = `format: json
partitions: 4
event_time: {field: event_time, unit: ms}
fields:
  user_id: VARCHAR NOT NULL
  page_id: VARCHAR NOT NULL
  ad_id: VARCHAR NOT NULL
  ad_type: VARCHAR
  event_type: VARCHAR NOT NULL
  event_time: BIGINT NOT NULL
  ip_address: VARCHAR
`

const adView = `-- How often was each campaign seen, by windows of ten seconds?
SELECT campaign_id, time_bucket(INTERVAL '10 seconds', epoch_ms(event_time)) AS start, count(*) AS views
FROM ad_events JOIN ads USING (ad_id)
WHERE event_type = 'view'
GROUP BY ALL
`

// adLines makes n events with a fixed seed: seven fields, all strings, about 240 bytes, ten a millisecond of event time.
func adLines(n int, f func(line []byte) error) error {
	r := rand.New(rand.NewPCG(1, 2))
	uuid := func() string { return fmt.Sprintf("%016x-%04x-%012x", r.Uint64(), r.Uint32N(1<<16), r.Uint64N(1<<48)) }
	var users, pages [1000]string
	for i := range users {
		users[i], pages[i] = uuid(), uuid()
	}
	kinds := []string{"banner", "modal", "sponsored-search", "mail", "mobile"}
	actions := []string{"view", "click", "purchase"}
	for i := range n {
		if err := f(fmt.Appendf(nil, `{"user_id":"%s","page_id":"%s","ad_id":"%s","ad_type":"%s","event_type":"%s","event_time":"%d","ip_address":"1.2.3.4"}`,
			users[r.IntN(1000)], pages[r.IntN(1000)], adName(r.IntN(adCount)), kinds[r.IntN(5)], actions[r.IntN(3)], 1_700_000_000_000+i/10)); err != nil {
			return err
		}
	}
	return nil
}

func adName(i int) string { return fmt.Sprintf("%08x-ad00-4000-8000-%012x", i*2654435761%(1<<32), i) }

// flightLines makes n flights: those of testdata, again and again, each time a year later.
func flightLines(n int, f func(line []byte) error) error {
	flown, err := testdata.Flights()
	if err != nil {
		return err
	}
	const key = `"date":"`
	for i := range n {
		line := flown[i%len(flown)]
		year := bytes.Index(line, []byte(key)) + len(key)
		if err := f(fmt.Appendf(nil, "%s%04d%s", line[:year], 2001+i/len(flown), line[year+4:])); err != nil {
			return err
		}
	}
	return nil
}

// generate makes n lines of a topic, always the same.
func generate(topic string, n int, f func(line []byte) error) error {
	switch topic {
	case flights:
		return flightLines(n, f)
	case visits:
		return visitLines(n, f)
	}
	return adLines(n, f)
}

// payloads are n lines of a topic in memory.
func payloads(topic string, n int) (out [][]byte, err error) {
	err = generate(topic, n, func(line []byte) error {
		out = append(out, line)
		return nil
	})
	return out, err
}

// writeProject writes the scratch project: the flights example, and the topics of ads and visits beside it.
func writeProject(dir string) error {
	example, err := testdata.Example("flights")
	if err != nil {
		return err
	}
	if err := os.CopyFS(dir, example); err != nil {
		return err
	}
	campaigns := []byte("ad_id,campaign_id\n")
	for i := range adCount {
		campaigns = fmt.Appendf(campaigns, "%s,campaign-%02d\n", adName(i), i%campaignCount)
	}
	for name, text := range map[string][]byte{"topics/" + ads + ".yaml": []byte(adTopic), "views/campaigns.sql": []byte(adView), "reference/ads.csv": campaigns,
		"topics/" + visits + ".yaml": []byte(visitsTopic), "views/" + visitsView + ".sql": []byte(visitsSQL)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// compiled is the scratch project as a child opens it.
type compiled struct {
	project  *project.Project
	catalog  *views.Catalog
	compiler *views.Compiler
	views    []*views.View // in order of names
}

// open opens what a layer works on: the scratch project, whose views are compiled, the log and the store. The caller closes
// the log.
func (j *Job) open() (c *compiled, log *kafkalog.Log, st store.Store, err error) {
	if c, log, st, err = j.openAll(); err == nil {
		c.compiler.Close()
	}
	return c, log, st, err
}

// openAll is open for who needs the compiler too, and closes it.
func (j *Job) openAll() (c *compiled, log *kafkalog.Log, st store.Store, err error) {
	if st, err = store.Open(j.Store); err != nil {
		return nil, nil, nil, err
	}
	if c, err = openProject(j.Dir); err != nil {
		return nil, nil, nil, err
	}
	if log, err = kafkalog.Open(kafkalog.Config{Brokers: j.Brokers}); err != nil {
		c.compiler.Close()
	}
	return c, log, st, err
}

// served is what a job works on, and a serving layer over it.
type served struct {
	*compiled
	log    *kafkalog.Log
	store  store.Store
	server *serving.Server
}

// serve does something with a serving layer of the project's views, and closes all; more are options beside those.
func (j *Job) serve(more serving.Options, do func(*served) error) error {
	c, log, st, err := j.openAll()
	if err != nil {
		return err
	}
	defer c.compiler.Close()
	defer log.Close()
	defs := &serving.Definitions{Catalog: c.catalog, Views: map[string]*views.View{}}
	for _, v := range c.views {
		defs.Views[v.Name] = v
	}
	more.Log, more.Store, more.Compiler, more.Limits = log, st, c.compiler, kernel.Limits{Memory: c.project.Config.Memory}
	more.Definitions = func(context.Context) (*serving.Definitions, error) { return defs, nil }
	server := serving.New(more)
	defer server.Close()
	return do(&served{c, log, st, server})
}

// inDuckDB does something in a DuckDB that spills into the job's store, a folder that is removed after it.
func (j *Job) inDuckDB(ctx context.Context, memory string, do func(*kernel.Session) error) error {
	if err := os.MkdirAll(j.Store, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(j.Store)
	session, err := kernel.OpenSession(ctx, kernel.Limits{Memory: memory, TempDir: j.Store})
	if err != nil {
		return err
	}
	defer session.Close()
	return do(session)
}

// openProject compiles the scratch project.
func openProject(dir string) (*compiled, error) {
	p, found := project.Open(dir)
	if len(found) > 0 {
		return nil, found[0]
	}
	c := &compiled{project: p, catalog: &views.Catalog{Topics: p.Topics, References: map[string]*views.Reference{}}}
	for _, r := range p.References {
		loaded, err := views.LoadReference(r.Name, r.Path, r.Fields)
		if err != nil {
			return nil, err
		}
		c.catalog.References[r.Name] = loaded
	}
	var err error
	if c.compiler, err = views.Open(); err != nil {
		return nil, err
	}
	for _, v := range p.Views {
		one, err := c.compiler.Compile(v.Name, v.File, v.SQL, c.catalog)
		if err != nil {
			c.compiler.Close()
			return nil, err
		}
		c.views = append(c.views, one)
	}
	return c, nil
}

// of lists the merged views of a topic.
func (c *compiled) of(topic string) []*views.View {
	var out []*views.View
	for _, v := range c.views {
		if v.Class.FromPartials() && v.Topic == topic {
			out = append(out, v)
		}
	}
	return out
}

func (c *compiled) references(of ...*views.View) []*views.Reference {
	var out []*views.Reference
	for _, v := range of {
		for _, name := range v.References {
			out = append(out, c.catalog.References[name])
		}
	}
	return out
}

// world is the scratch folder, its project and its broker.
type world struct {
	o     Options
	dir   string
	kafka *brokerProcess
	done  map[string]bool // what has been made already
}

func newWorld(_ context.Context, o Options) (*world, error) {
	dir, err := os.MkdirTemp(o.Dir, "millrace-bench-")
	if err != nil {
		return nil, &schemas.Problem{Kind: schemas.Environment, Message: "make a scratch folder", Err: err, Hint: "free some space or name a folder with --scratch"}
	}
	w := &world{o: o, dir: dir, done: map[string]bool{}}
	if err := writeProject(w.project()); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) close() {
	if w.kafka != nil {
		w.kafka.close()
	}
	os.RemoveAll(w.dir)
}

func (w *world) project() string             { return filepath.Join(w.dir, "project") }
func (w *world) linesOf(topic string) string { return filepath.Join(w.dir, topic+".ndjson") }
func (w *world) tail() string                { return filepath.Join(w.dir, "tail.ndjson") }
func (w *world) flightsStore() string        { return filepath.Join(w.dir, "flights-store") }

// job is a run's job with what every run is told.
func (w *world) job(work string, run int) Job {
	j := Job{Work: work, Run: run, Dir: w.project(), Events: w.o.Events, Tail: w.o.Tail, Store: filepath.Join(w.dir, fmt.Sprintf("store-%d", time.Now().UnixNano()))}
	if w.kafka != nil {
		j.Brokers = []string{w.kafka.addr}
	}
	switch work {
	case "batch-duckdb", "ingest", "ingest-kgo":
		j.File = w.linesOf(ads)
	case "query", "query-duckdb":
		j.File, j.Store, j.Events = w.tail(), w.flightsStore(), w.o.Flights
	}
	return j
}

// once does a step of the preparation if it has not been done.
func (w *world) once(name string, f func() error) error {
	if w.done[name] {
		return nil
	}
	w.done[name] = true
	return f()
}

// fileAds writes the ad events as NDJSON and starts the broker.
func (w *world) fileAds(ctx context.Context) error {
	return w.once("file", func() error {
		if _, err := w.broker(ctx); err != nil {
			return err
		}
		j := w.job("file", 0)
		j.Topic, j.File = ads, w.linesOf(ads)
		_, err := w.run(ctx, j)
		return err
	})
}

// fillAds puts the ad events into the broker.
func (w *world) fillAds(ctx context.Context) error {
	if err := w.fileAds(ctx); err != nil {
		return err
	}
	return w.once("fill", func() error {
		j := w.job("fill", 0)
		j.Topic, j.File = ads, w.linesOf(ads)
		_, err := w.run(ctx, j)
		return err
	})
}

// fillFlights puts the flights into the broker, runs a cycle over them and puts the tail on top.
func (w *world) fillFlights(ctx context.Context) error {
	return w.once("flights", func() error {
		if _, err := w.broker(ctx); err != nil {
			return err
		}
		history := w.o.File
		if history == "" {
			history = w.linesOf(flights)
			j := w.job("file", 0)
			j.Topic, j.File, j.Events = flights, history, w.o.Flights
			if _, err := w.run(ctx, j); err != nil {
				return err
			}
		}
		tail := w.job("file", 0)
		tail.Topic, tail.File, tail.Events = flights, w.tail(), w.o.Tail
		fill := w.job("fill", 0)
		fill.Topic, fill.File = flights, history
		cycle := w.job("cycle", 0)
		cycle.Topic, cycle.Store = flights, w.flightsStore()
		top := fill
		top.File = w.tail()
		for _, j := range []Job{tail, fill, cycle, top} {
			if _, err := w.run(ctx, j); err != nil {
				return fmt.Errorf("%s: %w", j.Work, err)
			}
		}
		return nil
	})
}
