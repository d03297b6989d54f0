package cluster

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// KafkaOptions say which Kafka is wanted. Dir alone is needed.
type KafkaOptions struct {
	Dir     string            // holds data, logs and records; a folder that was used before goes on with its data and ports
	Brokers int               // 1 or 3, each broker and controller in one; 1 if 0
	Heap    string            // of a node; 512m for one, 320m for each of three if empty
	Secure  bool              // clients come by SASL over TLS, or by TLS with a certificate of their own
	Port    int               // the first of the ports; 0 takes free ones
	Config  map[string]string // more of server.properties
	Tied    bool              // the nodes end with this process (Linux)
	Note    Note
}

// KafkaCluster is a running Kafka. Nodes[i] is the node of Brokers[i].
type KafkaCluster struct {
	Nodes   []*Process `json:"-"`
	Brokers []string   `json:"brokers"` // what clients are given: PLAINTEXT, or SASL_SSL if secure

	// Of a secure one only.
	Plaintext []string `json:"plaintext,omitempty"` // the same brokers without any security, as they talk to each other
	TLS       []string `json:"tls,omitempty"`       // the same brokers by TLS alone, which asks for a client's certificate
	User      string   `json:"user,omitempty"`      // for PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512
	Password  string   `json:"-"`
	PassFile  string   `json:"password_file,omitempty"` // the password's file
	CA        string   `json:"ca,omitempty"`            // the paths of PEM files
	Cert      string   `json:"cert,omitempty"`
	Key       string   `json:"key,omitempty"`

	started []*Process
}

// kafkaAsked is what cannot change about a Kafka that has data.
type kafkaAsked struct {
	Brokers int  `json:"brokers"`
	Secure  bool `json:"secure"`
}

// kafkaState is what a Kafka's folder keeps.
type kafkaState struct {
	Ports    []int  `json:"ports"` // a row of portsOfNode for each node
	ID       string `json:"id"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
}

const portsOfNode = 4 // clients, controller, plaintext of a secure one, TLS

// kafkaLog is how the nodes log: warnings, and the line that says a node has started.
const kafkaLog = `status=error
appender.c.type=Console
appender.c.name=C
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.c.ref=C
logger.s.name=kafka.server.KafkaRaftServer
logger.s.level=info
`

// StartKafka starts a Kafka, or finds the one that runs in Dir, and waits until every node takes part.
func StartKafka(ctx context.Context, o KafkaOptions) (*KafkaCluster, error) {
	if o.Brokers == 0 {
		o.Brokers = 1
	}
	if o.Brokers != 1 && o.Brokers != 3 {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("%d brokers", o.Brokers), Hint: "ask for 1 or 3"}
	}
	program, jars, err := tools(ctx, Kafka, o.Note)
	if err != nil {
		return nil, err
	}
	h, err := open(ctx, o.Dir, o.Tied, o.Note)
	if err != nil {
		return nil, err
	}
	defer h.unlock()
	asked := kafkaAsked{o.Brokers, o.Secure}
	state, err := recall(h, Kafka, asked, func() (s kafkaState, err error) {
		id := make([]byte, 16)
		_, _ = rand.Read(id)
		s.ID = "M" + base64.RawURLEncoding.EncodeToString(id)[1:] // one that begins with a dash would be taken for a flag
		if o.Secure {
			s.User, s.Password = "millrace", strings.ToLower(rand.Text())
			if err := errors.Join(certificates(h.dir), os.WriteFile(h.path("password"), []byte(s.Password+"\n"), 0o600)); err != nil {
				return s, err
			}
		}
		s.Ports, err = kafkaPorts(o)
		return s, err
	})
	if err != nil {
		return nil, err
	}
	k := &KafkaCluster{}
	for i := range o.Brokers {
		ports := state.Ports[i*portsOfNode:]
		k.Brokers = append(k.Brokers, loopback(ports[0]))
		if o.Secure {
			k.Plaintext, k.TLS = append(k.Plaintext, loopback(ports[2])), append(k.TLS, loopback(ports[3]))
			k.User, k.Password = state.User, state.Password
			k.CA, k.Cert, k.Key = h.path("ca.pem"), h.path("client.pem"), h.path("client-key.pem")
			k.PassFile = h.path("password")
		}
		p, err := h.kafkaNode(ctx, o, program, classPath(jars), state, i)
		if err != nil {
			return nil, err
		}
		k.Nodes = append(k.Nodes, p)
	}
	if err := h.start(ctx, k.Nodes...); err != nil {
		return nil, err
	}
	k.started = h.started
	return k, h.write(addressFile, k)
}

// kafkaPorts gives the ports of all nodes. With a first port given, the clients' ports come first and lie side by side.
func kafkaPorts(o KafkaOptions) ([]int, error) {
	ports, err := takePorts(o.Port, o.Brokers*portsOfNode)
	if err != nil {
		return nil, err
	}
	var out []int
	for i := range o.Brokers {
		for j := range portsOfNode {
			out = append(out, ports[j*o.Brokers+i])
		}
	}
	return out, nil
}

// Stop stops all nodes.
func (k *KafkaCluster) Stop() error { return stopAll(k.Nodes) }

// kafkaNode writes the configuration of a node, formats its storage if it is new, and gives the process.
func (h *home) kafkaNode(ctx context.Context, o KafkaOptions, program, classes string, state kafkaState, i int) (*Process, error) {
	name := fmt.Sprintf("kafka-%d", i+1)
	config, logging, data := h.path(name+".properties"), h.path("log4j2.properties"), h.path(name)
	var voters []string
	for n := range o.Brokers {
		voters = append(voters, fmt.Sprintf("%d@%s", n+1, loopback(state.Ports[n*portsOfNode+1])))
	}
	ports := state.Ports[i*portsOfNode:][:portsOfNode]
	copies, enough := o.Brokers, (o.Brokers+1)/2
	set := map[string]string{
		"process.roles": "broker,controller", "node.id": fmt.Sprint(i + 1), "log.dirs": data,
		"controller.quorum.voters": strings.Join(voters, ","), "controller.listener.names": "CONTROLLER",
		"listeners":                      fmt.Sprintf("CLIENT://%s,CONTROLLER://%s", loopback(ports[0]), loopback(ports[1])),
		"advertised.listeners":           "CLIENT://" + loopback(ports[0]),
		"listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":     "CLIENT",
		"num.network.threads":            "2", "num.io.threads": "4",
		"auto.create.topics.enable":  "false",
		"default.replication.factor": fmt.Sprint(copies), "min.insync.replicas": fmt.Sprint(enough),
		"offsets.topic.num.partitions": "8", "offsets.topic.replication.factor": fmt.Sprint(copies),
		"transaction.state.log.num.partitions": "8", "transaction.state.log.replication.factor": fmt.Sprint(copies), "transaction.state.log.min.isr": fmt.Sprint(enough),
		"share.coordinator.state.topic.num.partitions": "4", "share.coordinator.state.topic.replication.factor": fmt.Sprint(copies), "share.coordinator.state.topic.min.isr": fmt.Sprint(enough),
		"group.initial.rebalance.delay.ms": "0",
		// A killed broker is noticed after this long, not after the nine seconds that Kafka waits by default.
		"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500",
	}
	format := []string{"-Xmx128m", "-Dlog4j2.configurationFile=" + logging, "-cp", classes, "kafka.tools.StorageTool", "format", "-t", state.ID, "-c", config}
	used := ports[:2]
	if o.Secure {
		used = ports
		secure(set, h.dir, state, ports)
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			format = append(format, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, state.User, state.Password))
		}
	}
	for key, value := range o.Config {
		set[key] = value
	}
	if err := errors.Join(os.WriteFile(config, properties(set), 0o600), os.WriteFile(logging, []byte(kafkaLog), 0o644)); err != nil {
		return nil, err
	}
	if !exists(filepath.Join(data, "meta.properties")) {
		out, err := exec.CommandContext(ctx, program, format...).CombinedOutput()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("format the storage of %s: %w: %s", name, err, strings.TrimSpace(string(out)))
		}
	}
	heap := o.Heap
	if heap == "" {
		heap = map[int]string{1: "512m", 3: "320m"}[o.Brokers]
	}
	command := []string{program, "-Xmx" + heap, "-XX:+UseSerialGC", "-Dlog4j2.configurationFile=" + logging, "-cp", classes, "kafka.Kafka", config}
	return h.process(name, command, nil, "Kafka Server started", used...)
}

// secure adds the listeners of a secure Kafka: clients come by SASL over TLS or by TLS with a certificate, the nodes talk
// to each other in plain text on a port of their own.
func secure(set map[string]string, dir string, state kafkaState, ports []int) {
	set["listeners"] += fmt.Sprintf(",INTERNAL://%s,TLS://%s", loopback(ports[2]), loopback(ports[3]))
	set["advertised.listeners"] += fmt.Sprintf(",INTERNAL://%s,TLS://%s", loopback(ports[2]), loopback(ports[3]))
	set["listener.security.protocol.map"] = "CLIENT:SASL_SSL,TLS:SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
	set["inter.broker.listener.name"] = "INTERNAL"
	set["sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
	set["listener.name.client.plain.sasl.jaas.config"] = fmt.Sprintf("org.apache.kafka.common.security.plain.PlainLoginModule required user_%s=\"%s\";", state.User, state.Password)
	for _, mechanism := range []string{"scram-sha-256", "scram-sha-512"} {
		set["listener.name.client."+mechanism+".sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	}
	set["ssl.keystore.type"], set["ssl.keystore.location"] = "PEM", filepath.Join(dir, "broker.pem")
	set["ssl.truststore.type"], set["ssl.truststore.location"] = "PEM", filepath.Join(dir, "ca.pem")
	set["listener.name.tls.ssl.client.auth"] = "required"
}

// properties writes a Java properties file.
func properties(set map[string]string) []byte {
	var lines []string
	for key, value := range set {
		lines = append(lines, key+"="+strings.ReplaceAll(value, `\`, `\\`)+"\n")
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, ""))
}
