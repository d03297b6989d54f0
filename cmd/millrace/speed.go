package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/speed"
)

type speedOptions struct {
	once bool
}

func newSpeed(a *app) *cobra.Command {
	o := &speedOptions{}
	cmd := &cobra.Command{
		Use:   "speed [TOPIC...]",
		Short: "Run the speed layer: publish slices of every merged view as records come in",
		Long: `speed follows the topics with Beam pipelines and publishes slices, partials of what no batch cycle has read yet, until a
signal ends it. It goes on from what was published. Answers are the same without it; they cost less with it.
"millrace up" runs it too: this verb is for a process of its own beside a Kafka cluster.`,
		Example: `  millrace speed
  millrace speed flights --once      # up to the log's end of now`,
		RunE:              func(cmd *cobra.Command, args []string) error { return runSpeed(cmd.Context(), a, o, args) },
		ValidArgsFunction: a.complete((*project.Project).TopicNames, 0, false),
	}
	cmd.Flags().BoolVar(&o.once, "once", false, "end when slices reach the end that the log has at the start")
	return cmd
}

func runSpeed(ctx context.Context, a *app, o *speedOptions, topics []string) error {
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	if topics, err = e.topics(topics); err != nil {
		return err
	}
	if e.session.up != nil && !o.once {
		return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("`millrace up`, process %d, runs the speed layer here", e.session.up.PID),
			Hint: "there is nothing to do; a speed layer of its own is for a Kafka cluster"}
	}
	if !o.once {
		a.note("millrace speed follows %s", strings.Join(topics, ", "))
		err := a.keepSlices(ctx, a.fresh(e), topics)
		if ctx.Err() != nil {
			return nil // a signal is how it is meant to end
		}
		return err
	}
	began := time.Now()
	for _, name := range topics {
		if in := e.slicing(a, name); len(in.Views) > 0 {
			if err := in.CatchUp(ctx); err != nil {
				return err
			}
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
		if v.Class == views.Merged && v.Topic == topic {
			out = append(out, v)
		}
	}
	return out
}

// slicing is the speed layer's input for a topic.
func (e *engine) slicing(a *app, topic string) *speed.Input {
	return &speed.Input{Log: e.log, Store: e.store, Topic: e.session.project.Topics[topic], Views: e.merged(topic), References: e.catalog.References,
		Memory: e.session.project.Config.Memory, Logger: a.logger()}
}

// lookEvery is how often the project's files are looked at for changes.
const lookEvery = time.Second

// keepSlices runs a pipeline for each topic that has merged views, anew whenever they change, until ctx ends. No names are
// all topics, also those that are declared later.
func (a *app) keepSlices(ctx context.Context, f *fresh, named []string) error {
	var all sync.WaitGroup
	defer all.Wait()
	type running struct {
		definitions string
		stop        func()
	}
	pipelines := map[string]running{}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	said := ""
	for {
		if e, err := f.engine(ctx); err != nil {
			if said != err.Error() && ctx.Err() == nil {
				a.logger().Error("the project's files have a problem; the speed layer goes on with what it has", "error", err)
				said = err.Error()
			}
		} else {
			said = ""
			for name, p := range pipelines {
				if e.session.project.Topics[name] == nil {
					p.stop()
					delete(pipelines, name)
				}
			}
			for _, name := range e.session.project.TopicNames() {
				in := e.slicing(a, name)
				key := in.Topic.Hash()
				for _, v := range in.Views {
					key += " " + v.Definition
				}
				if len(named) > 0 && !slices.Contains(named, name) || pipelines[name].definitions == key {
					continue
				}
				if old, ok := pipelines[name]; ok {
					old.stop()
					delete(pipelines, name)
				}
				if len(in.Views) == 0 {
					continue
				}
				mine, cancel := context.WithCancel(ctx)
				ended := make(chan struct{})
				all.Go(func() {
					defer close(ended)
					// It ends only with its context.
					_ = in.Run(mine)
				})
				pipelines[name] = running{key, func() { cancel(); <-ended }}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
