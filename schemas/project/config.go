package project

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Config is millrace.yaml with its defaults filled in: where things run.
type Config struct {
	Brokers  []string // host:port each; empty: the embedded broker
	Store    string   // an absolute folder, or s3://BUCKET/PREFIX?OPTIONS
	Listen   string   // host:port of the HTTP server
	Batch    Batch
	Runner   string // the Beam runner: prism, flink or spark
	Endpoint string // host:port of the runner's job server, empty for prism
	Engine   Engine
	Kafka    Kafka
	Memory   string  // what one engine may take, in DuckDB's spelling: 256MiB
	Drift    float64 // the share of one processor for comparing samples of merged views with a recompute; 0: none is compared
}

// Batch says how the batch layer runs.
type Batch struct {
	Every time.Duration // between the starts of two cycles while `up` runs
	Keep  time.Duration // partials of a definition that no view has any more are named as long, and their files kept as long again
}

// Kafka says how the cluster is talked to and how topics are made, and where the embedded broker listens.
type Kafka struct {
	Listen      string // of the embedded broker: host:port; port 0 is any free one
	TLS         *TLS   // nil: plain text
	SASL        *SASL  // nil: nobody in particular
	Replication int    // of the topics that millrace makes; 0: the broker's own
	MinInsync   int    // min.insync.replicas of them; 0: the broker's own
	Compression string // of what millrace sends; empty: by where the brokers are
}

// TLS names files by absolute paths; each may be empty. See kafkalog.TLS.
type TLS struct {
	CA         string // whose brokers are believed; empty: whom the system believes
	Cert       string // the client's own certificate
	Key        string // its key
	ServerName string
}

// SASL says who connects. See kafkalog.SASL.
type SASL struct {
	Mechanism    string
	User         string
	PasswordFile string // an absolute path; empty: the environment variable MILLRACE_KAFKA_PASSWORD
}

// Embedded says that the project runs its own broker.
func (c *Config) Embedded() bool { return len(c.Brokers) == 0 }

// Defaults is what an empty millrace.yaml in the folder means.
func Defaults(dir string) Config {
	return Config{
		Store:  filepath.Join(dir, "data"),
		Listen: "127.0.0.1:7171",
		Batch:  Batch{Every: 5 * time.Minute, Keep: time.Hour},
		Runner: Prism,
		Kafka:  Kafka{Listen: "127.0.0.1:0"},
		Memory: "256MiB",
		Drift:  0.01,
	}
}

var size = regexp.MustCompile(`^[1-9][0-9]*(\.[0-9]+)? ?([KMGT]i?)?B$`)

// parseConfig reads millrace.yaml.
func (f *form) parseConfig(dir string, text []byte) Config {
	c := Defaults(dir)
	s := f.parse(text, "brokers", "store", "listen", "batch", "runner", "endpoint", "engine", "kafka", "memory", "drift")
	s.brokers(&c)

	s.text("store", &c.Store)
	c.Store = strings.TrimPrefix(c.Store, "file://")
	switch scheme, _, ok := strings.Cut(c.Store, "://"); {
	case ok && scheme != "s3":
		s.report("store", "use a folder, or s3://BUCKET/PREFIX", "there is no kind of store %s://", scheme)
	case ok:
	case c.Store == "":
		s.report("store", "use a folder, such as ./data", "want a folder")
	default:
		c.Store = within(dir, c.Store)
	}

	s.text("listen", &c.Listen)
	s.address("listen", c.Listen)
	if batch, ok := s.section("batch", "every", "keep"); ok {
		batch.duration("every", &c.Batch.Every)
		batch.duration("keep", &c.Batch.Keep)
	}

	s.engine(&c)

	s.kafka(dir, &c)

	s.text("memory", &c.Memory)
	if !size.MatchString(c.Memory) {
		s.report("memory", "write a number and a unit: 256MiB, 2GB", "want an amount of memory, not %q", c.Memory)
	}
	s.drift(&c)
	return c
}

var percent = regexp.MustCompile(`^([0-9]{1,3}(?:\.[0-9]+)?)%$`)

// drift reads a share of one processor, or off.
func (s section) drift(c *Config) {
	text := fmt.Sprintf("%g%%", 100*c.Drift)
	s.text("drift", &text)
	if text == "off" {
		c.Drift = 0
		return
	}
	m := percent.FindStringSubmatch(text)
	if m == nil {
		s.report("drift", "write 1%, 0.5% or off", "want a share of one processor, not %q", text)
		return
	}
	share, err := strconv.ParseFloat(m[1], 64)
	if err != nil || share <= 0 || share > 100 {
		s.report("drift", "write off for no watch, or a share of up to 100%", "%s is no share of one processor that samples can be taken in", text)
		return
	}
	c.Drift = share / 100
}

// brokers reads `embedded`, one address or a list of them.
func (s section) brokers(c *Config) {
	var list []string
	s.texts("brokers", &list)
	if len(list) == 1 && list[0] == "embedded" {
		return
	}
	if s.values["brokers"] != nil && len(list) == 0 {
		s.report("brokers", "write embedded, or [host:port, ...]", "names no broker")
	}
	for _, b := range list {
		if s.address("brokers", b) {
			c.Brokers = append(c.Brokers, b)
		}
	}
}

// address reports a text that is not host:port.
func (s section) address(key, text string) bool {
	if isAddress(text) && (key != "brokers" || !strings.HasPrefix(text, ":")) {
		return true
	}
	s.report(key, "write host:port, such as 127.0.0.1:9092", "want an address, not %q", text)
	return false
}

func isAddress(text string) bool {
	host, port, err := net.SplitHostPort(text)
	_, perr := net.LookupPort("tcp", port)
	return err == nil && perr == nil && port != "" && !strings.ContainsAny(host, " /,")
}

// within resolves a path of the project against its folder.
func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}
