package project

import (
	"math"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

var (
	mechanisms   = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
	compressions = []string{"none", "gzip", "snappy", "lz4", "zstd"}
)

// kafka reads the section of that name.
func (s section) kafka(dir string, c *Config) {
	k, ok := s.section("kafka", "listen", "tls", "sasl", "replication", "min_insync", "compression")
	if !ok {
		return
	}
	k.text("listen", &c.Kafka.Listen)
	k.address("listen", c.Kafka.Listen)
	if k.values["listen"] != nil && !c.Embedded() {
		k.report("listen", "remove it, or set brokers: embedded", "it is the embedded broker's, and brokers names a cluster")
	}
	if c.Embedded() {
		for _, key := range []string{"tls", "sasl"} {
			if k.values[key] != nil {
				k.report(key, "remove it, or name a cluster under brokers", "the embedded broker listens on this machine's loopback interface only and has neither TLS nor SASL")
			}
		}
		for _, key := range []string{"replication", "min_insync"} {
			if k.values[key] != nil {
				k.report(key, "remove it, or name a cluster under brokers", "the embedded broker is alone")
			}
		}
	}
	k.tls(dir, &c.Kafka)
	k.sasl(dir, &c.Kafka)
	k.replicas("replication", &c.Kafka.Replication)
	k.replicas("min_insync", &c.Kafka.MinInsync)
	if r := c.Kafka.Replication; r > 0 && c.Kafka.MinInsync > r {
		k.report("min_insync", "give at most kafka.replication, and one less to bear the loss of a broker", "%d of %d replicas can never be had", c.Kafka.MinInsync, r)
	}
	k.text("compression", &c.Kafka.Compression)
	if text := c.Kafka.Compression; k.values["compression"] != nil && !slices.Contains(compressions, text) {
		k.report("compression", nearest(text, compressions), "unknown compression %q", text)
	}
}

// tls reads true, false or the files.
func (s section) tls(dir string, k *Kafka) {
	switch n := s.values["tls"].(type) {
	case nil:
		return
	case *ast.BoolNode:
		if n.Value {
			k.TLS = &TLS{}
		}
		return
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		s.report("tls", "", "want true, false or {ca, cert, key, server_name}, not %s", kindOf(n))
		return
	}
	t, _ := s.section("tls", "ca", "cert", "key", "server_name")
	k.TLS = &TLS{}
	t.path(dir, "ca", &k.TLS.CA)
	t.path(dir, "cert", &k.TLS.Cert)
	t.path(dir, "key", &k.TLS.Key)
	t.text("server_name", &k.TLS.ServerName)
	if (t.values["cert"] != nil) != (t.values["key"] != nil) {
		s.report("tls", "give both cert and key, or neither", "a certificate and its key go together")
	}
}

func (s section) sasl(dir string, k *Kafka) {
	a, ok := s.section("sasl", "mechanism", "user", "password_file")
	if !ok {
		return
	}
	k.SASL = &SASL{}
	a.text("mechanism", &k.SASL.Mechanism)
	a.text("user", &k.SASL.User)
	a.path(dir, "password_file", &k.SASL.PasswordFile)
	switch m := k.SASL.Mechanism; {
	case a.values["mechanism"] == nil:
		a.report("mechanism", "write PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", "is missing")
	case !slices.Contains(mechanisms, m):
		a.report("mechanism", nearest(m, mechanisms), "unknown mechanism %q", m)
	}
	if k.SASL.User == "" {
		a.report("user", "write the name that Kafka knows", "is missing")
	}
}

// path stores a path of the project as an absolute one.
func (s section) path(dir, key string, into *string) {
	s.text(key, into)
	if *into != "" {
		*into = within(dir, *into)
	} else if text, ok := textOf(s.values[key]); ok && text == "" {
		s.report(key, "write the path of a file", "names no file")
	}
}

// replicas stores a number of replicas.
func (s section) replicas(key string, into *int) {
	s.whole(key, into)
	if n, ok := s.values[key].(*ast.IntegerNode); ok && (*into < 1 || *into > math.MaxInt16) {
		s.report(key, "remove the key to take the broker's own", "want a number from 1 to 32767, not %s", kindOf(n))
		*into = 0
	}
}
