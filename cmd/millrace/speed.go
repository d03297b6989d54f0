package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/speed"
)

type speedOptions struct {
	once      bool
	savepoint string
	engine    engineFlags
}

func newSpeed(a *app) *cobra.Command {
	o := &speedOptions{}
	cmd := &cobra.Command{
		Use:   "speed [TOPIC...]",
		Short: "Run the speed layer: publish slices of every merged view as records come in",
		Long: `speed follows the topics with Beam pipelines and publishes slices, partials of what no batch cycle has read yet, until a
signal ends it. It goes on from what was published. Answers are the same without it; they cost less with it.
"millrace up" runs it too: this verb is for a process of its own beside a Kafka cluster.

On Flink (--runner flink) the pipelines run there, and this process starts and watches them; a signal cancels them. Spark
cannot follow a log: with "runner: spark" in millrace.yaml the speed layer runs in this process.`,
		Example: `  millrace speed
  millrace speed flights --once      # up to the log's end of now
  millrace speed --runner flink --endpoint 127.0.0.1:8099 --rest 127.0.0.1:8081`,
		RunE:              func(cmd *cobra.Command, args []string) error { return runSpeed(cmd.Context(), a, o, args) },
		ValidArgsFunction: a.complete((*project.Project).TopicNames, 0, false),
	}
	cmd.Flags().BoolVar(&o.once, "once", false, "end when slices reach the end that the log has at the start")
	cmd.Flags().StringVar(&o.savepoint, "from-savepoint", "", "go on from a savepoint of Flink, which \"pipelines drain\" printed; needs one TOPIC")
	o.engine.add(cmd)
	return cmd
}

func runSpeed(ctx context.Context, a *app, o *speedOptions, named []string) error {
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	topics, err := e.topics(named)
	if err != nil {
		return err
	}
	if e.speedOn, err = a.speedEngine(&o.engine, &e.session.project.Config); err != nil {
		return err
	}
	if e.savepoint = o.savepoint; e.savepoint != "" && (e.speedOn.Runner != project.Flink || len(named) != 1) {
		return &schemas.Problem{Kind: schemas.Usage, Message: "a savepoint is of one pipeline at Flink", Hint: "name the topic, and Flink as the runner: millrace speed TOPIC --runner flink --from-savepoint PATH"}
	}
	if e.session.up != nil && !o.once {
		return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("`millrace up`, process %d, runs the speed layer here", e.session.up.PID),
			Hint: "there is nothing to do; a speed layer of its own is for a Kafka cluster"}
	}
	if !o.once {
		a.note("millrace speed follows %s", strings.Join(topics, ", "))
		l, err := a.live(e)
		if err != nil {
			return err
		}
		err = a.keepSlices(ctx, l, named, true)
		if ctx.Err() != nil {
			return nil // a signal is how it is meant to end
		}
		return err
	}
	began := time.Now()
	for _, name := range topics {
		in, err := e.slicing(ctx, a, name)
		if err == nil && len(in.Views) > 0 {
			err = in.CatchUp(ctx)
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(map[string]any{"topics": topics, "seconds": time.Since(began).Seconds()})
	}
	fmt.Fprintf(a.stdout, "slices of %s reach the log's end, after %.1f s\n", strings.Join(topics, ", "), time.Since(began).Seconds())
	return nil
}

// topics are the ones named, or all of the project.
func (e *engine) topics(named []string) ([]string, error) {
	p := e.session.project
	for _, name := range named {
		if p.Topics[name] == nil {
			return nil, noSuch("topic", name, p.TopicNames(), "topics/"+name+".yaml would declare it")
		}
	}
	if len(named) == 0 {
		return p.TopicNames(), nil
	}
	return named, nil
}

// merged are a topic's merged views.
func (e *engine) merged(topic string) []*views.View {
	var out []*views.View
	for _, v := range e.catalog.views {
		if v.Class.FromPartials() && v.Topic == topic {
			out = append(out, v)
		}
	}
	return out
}

// slicing is the speed layer's input for a topic: with the versions of reference tables that are in force.
func (e *engine) slicing(ctx context.Context, a *app, topic string) (*speed.Input, error) {
	now, err := e.cycle(a, topic).InForce(ctx)
	if err != nil {
		return nil, err
	}
	return &speed.Input{Log: e.log, Store: e.store, Topic: now.Topic, Views: now.Views, References: now.References,
		Memory: e.session.project.Config.Memory, Scratch: e.workScratch(), Engine: e.speedOn, Savepoint: e.savepoint, Logger: a.logger()}, nil
}

// lookEvery is how often the project's files are looked at for changes.
const lookEvery = time.Second

// inForceEvery is how often the speed layer looks whether a cycle has brought another version of a reference table into
// force. Until then its slices above the frontier are of no use, and the records stand in.
const inForceEvery = 5 * time.Second

// keepSlices runs a pipeline for each topic that has merged views, anew whenever they change, until ctx ends. No names are
// all topics, also those that are declared later. With leave it returns also when all of them were ended at their engine.
func (a *app) keepSlices(ctx context.Context, l *live, named []string, leave bool) error {
	k := &keeper{app: a, pipelines: map[string]pipeline{}, started: map[string]bool{}}
	defer k.stopAll()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	said := ""
	for {
		e, err := l.engine(ctx)
		if err == nil {
			err = k.adapt(ctx, e, named)
			if wrong := l.wrong(); len(wrong) > 0 {
				err = errors.Join(wrong, err)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			said = ""
		} else if said != err.Error() {
			a.logger().Warn("the project's files have a problem; what it touches is left out until it is mended", "error", err)
			said = err.Error()
		}
		if leave && k.over() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// keeper has the speed layer's running pipelines by topic.
type keeper struct {
	app       *app
	pipelines map[string]pipeline
	started   map[string]bool // topics that have had one
	of        *catalog        // looked at last
	looked    time.Time
}

// over says that every pipeline was ended at its engine.
func (k *keeper) over() bool {
	for _, p := range k.pipelines {
		select {
		case <-p.ended:
		default:
			return false
		}
	}
	return len(k.pipelines) > 0
}

// pipeline is one that runs.
type pipeline struct {
	definitions string // of the views it slices
	ended       <-chan struct{}
	stop        func() // ends it and waits
}

// adapt ends the pipelines of topics and views that have changed and starts those that are missing.
func (k *keeper) adapt(ctx context.Context, e *engine, named []string) error {
	if e.catalog == k.of && time.Since(k.looked) < inForceEvery {
		return nil
	}
	wanted := map[string]*speed.Input{}
	failed := map[string]error{}
	for _, name := range e.session.project.TopicNames() {
		if len(named) > 0 && !slices.Contains(named, name) {
			continue
		}
		in, err := e.slicing(ctx, k.app, name)
		if err != nil {
			failed[name] = err // its pipeline stays as it is
			continue
		}
		if len(in.Views) > 0 {
			wanted[name] = in
		}
	}
	for name, p := range k.pipelines {
		if in := wanted[name]; failed[name] == nil && (in == nil || p.definitions != definitions(in.Topic, in.Views)) {
			p.stop()
			delete(k.pipelines, name)
		}
	}
	for name, in := range wanted {
		if _, runs := k.pipelines[name]; runs {
			continue
		}
		if k.started[name] {
			in.Savepoint = "" // it was of the pipeline that ran before this one
		}
		k.started[name] = true
		mine, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := in.Run(mine); mine.Err() == nil {
				k.app.logger().Warn("the pipeline stays as it is until this process is started again; answers stay complete", "topic", name, "error", err)
			}
		}()
		k.pipelines[name] = pipeline{definitions(in.Topic, in.Views), ended, func() { cancel(); <-ended }}
	}
	k.of, k.looked = e.catalog, time.Now()
	return errors.Join(slices.Collect(maps.Values(failed))...)
}

func (k *keeper) stopAll() {
	for _, p := range k.pipelines {
		p.stop()
	}
}

// definitions names what is computed of a topic.
func definitions(topic *schemas.Topic, of []*views.View) string {
	key := topic.Hash()
	for _, v := range of {
		key += " " + v.Definition
	}
	return key
}
