package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/schemas/slice"
)

// clusterFindings try the Kafka cluster: each address, how we are let in, each broker it names, whether topics can be made as
// asked, and how the project's are kept.
func clusterFindings(ctx context.Context, p *project.Project) []finding {
	config := kafkaOf(p)
	log, err := kafkalog.Open(config)
	if err != nil {
		return []finding{sick("broker", err)}
	}
	defer log.Close()
	var out []finding
	reached := false
	for _, addr := range config.Brokers {
		if err := config.Knock(ctx, addr); err != nil {
			out = append(out, sick("broker", err))
			continue
		}
		reached = true
		out = append(out, well("broker", "%s answers%s", addr, secured(config)))
	}
	if !reached {
		return out
	}
	var topics []string
	for name := range p.Topics {
		topics = append(topics, name, slice.Topic(name))
	}
	slices.Sort(topics)
	h, err := log.Health(ctx, topics...)
	if err != nil {
		return append(out, sick("cluster", err))
	}
	up := 0
	for _, b := range h.Brokers {
		if b.Err != nil {
			out = append(out, sick("cluster", &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("the cluster names broker %d at %s, which cannot be reached from here", b.ID, b.Addr), Err: b.Err,
				Hint: "correct advertised.listeners of that broker, or this machine's way to it"}))
			continue
		}
		up++
	}
	if up == len(h.Brokers) {
		out = append(out, well("cluster", "%s, all reached at the addresses they advertise", count(up, "broker")))
	}
	if err := log.CanReplicate(ctx); err != nil {
		out = append(out, sick("replication", err))
	} else if config.Replication > 0 {
		out = append(out, well("replication", "topics can be made with %s", count(config.Replication, "replica")))
	} else {
		out = append(out, well("replication", "topics can be made with the replication that is the broker's own"))
	}
	for i := range h.Topics {
		out = append(out, topicFinding(&h.Topics[i]))
	}
	return out
}

// secured says how we are let in.
func secured(c kafkalog.Config) string {
	var by []string
	if c.TLS != nil {
		by = append(by, "under TLS")
	}
	if c.SASL != nil {
		by = append(by, "to "+c.SASL.User+" by "+c.SASL.Mechanism)
	}
	if len(by) == 0 {
		return ""
	}
	return " " + strings.Join(by, ", ")
}

func topicFinding(t *kafkalog.TopicHealth) finding {
	check := "topic " + t.Name
	wrong := func(hint, format string, args ...any) finding {
		return sick(check, &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	switch {
	case t.Leaderless > 0:
		return wrong("start the brokers that are down", "%s without a leader: they can be neither read nor written", count(t.Leaderless, "partition"))
	case t.Unwritable():
		return wrong("start the brokers that are down, or lower min.insync.replicas of the topic", "%d of %d replicas are in step, and min.insync.replicas is %d: nothing is acknowledged", t.InSync, t.Replication, t.MinInsync)
	case t.Compacted:
		return wrong("set its cleanup.policy to delete, or copy it into another topic", "it is compacted: records vanish from its middle, so it cannot be read")
	}
	says := fmt.Sprintf("%s, %d in step", count(t.Replication, "replica"), t.InSync)
	if !t.Configured {
		return well(check, "%s; its configuration may not be read", says)
	}
	says += fmt.Sprintf(", min.insync.replicas %d", t.MinInsync)
	if strings.HasPrefix(t.Name, "_millrace.") { // whose times count for nothing
		return well(check, "%s", says)
	}
	if !t.AppendTime {
		f := well(check, "%s, times are the producers'", says)
		f.Hint = "set message.timestamp.type=LogAppendTime: --as-of a time goes by the broker's clock then"
		return f
	}
	return well(check, "%s, append times are the broker's", says)
}
