package kafkalog

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	kafka "github.com/segmentio/kafka-go"
	kafkasasl "github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/millrace/millrace/schemas"
)

// PasswordVariable is the environment variable with the password of a SASL user that has no password file.
const PasswordVariable = "MILLRACE_KAFKA_PASSWORD"

// The mechanisms of SASL.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

// Config says where the cluster is and how it is talked to. Its JSON round-trips, so it can travel in a pipeline; so it
// holds no secret, only the paths of files with secrets, which whoever connects reads on its own machine.
type Config struct {
	Brokers []string `json:"brokers"`        // host:port, any of the cluster; all are tried
	TLS     *TLS     `json:"tls,omitempty"`  // nil: plain text
	SASL    *SASL    `json:"sasl,omitempty"` // nil: nobody in particular

	Replication int    `json:"replication,omitempty"` // of a topic that is made; 0: the broker's own
	MinInsync   int    `json:"min_insync,omitempty"`  // min.insync.replicas of a topic that is made; 0: the broker's own
	Compression string `json:"compression,omitempty"` // none, gzip, snappy, lz4, zstd; empty: whoever sends chooses
}

// TLS names the files of a connection under TLS. Each may be empty.
type TLS struct {
	CA         string `json:"ca,omitempty"`   // PEM: whose brokers are believed; empty: whom the system believes
	Cert       string `json:"cert,omitempty"` // PEM: the client's own certificate
	Key        string `json:"key,omitempty"`  // PEM: its key
	ServerName string `json:"server_name,omitempty"`
}

// SASL says who connects.
type SASL struct {
	Mechanism    string `json:"mechanism"`
	User         string `json:"user"`
	PasswordFile string `json:"password_file,omitempty"` // empty: PasswordVariable
}

// requestTries is how often a client tries a request again by itself, in under a second.
const requestTries = 4

// Options are the options of a franz-go client of the cluster: every client of it begins with them.
// Errors: a Problem about a file or variable that is not there.
func (c Config) Options() ([]kgo.Opt, error) {
	if len(c.Brokers) == 0 {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: "no brokers are named", Hint: "set brokers: in millrace.yaml"}
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID("millrace"),
		kgo.DialTimeout(patience / 2),
		kgo.MetadataMinAge(100 * time.Millisecond),
		// A connection that ends at its first request may be of a broker that restarts.
		kgo.AlwaysRetryEOF(),
		kgo.RequestRetries(requestTries),
		kgo.RetryBackoffFn(func(try int) time.Duration { return min(time.Second, 25*time.Millisecond<<min(try, 6)) }),
	}
	t, err := c.TLS.config()
	if err != nil {
		return nil, err
	}
	if t != nil {
		options = append(options, kgo.DialTLSConfig(t))
	}
	return c.identify(options)
}

// Guarded are Options of a client that calls before each time that it is about to write to a connection, and writes nothing
// if that is refused.
func (c Config) Guarded(before func() error) ([]kgo.Opt, error) {
	plain := c
	plain.TLS = nil
	options, err := plain.Options()
	if err != nil {
		return nil, err
	}
	t, err := c.TLS.config()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: patience / 2}
	return append(options, kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		conn = guarded{conn, before}
		if t == nil {
			return conn, nil
		}
		own := t.Clone()
		if own.ServerName == "" {
			if own.ServerName, _, err = net.SplitHostPort(address); err != nil {
				return nil, err
			}
		}
		secure := tls.Client(conn, own)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secure, nil
	})), nil
}

// guarded is a connection that asks before it writes.
type guarded struct {
	net.Conn
	before func() error
}

func (g guarded) Write(p []byte) (int, error) {
	if err := g.before(); err != nil {
		return 0, err
	}
	return g.Conn.Write(p)
}

// identify says who the client is.
func (c Config) identify(options []kgo.Opt) ([]kgo.Opt, error) {
	if c.SASL != nil {
		if _, err := c.SASL.password(); err != nil {
			return nil, err
		}
		options = append(options, kgo.SASL(c.SASL.mechanism()))
	}
	return options, nil
}

// transport is the same for kafka-go.
func (c Config) transport() (*kafka.Transport, error) {
	t, err := c.TLS.config()
	if err != nil {
		return nil, err
	}
	out := &kafka.Transport{ClientID: "millrace", DialTimeout: patience / 2, MetadataTTL: time.Second, TLS: t}
	if c.SASL != nil {
		out.SASL = mechanism{c.SASL.mechanism()}
	}
	return out, nil
}

// config reads the files.
func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, &schemas.Problem{Kind: schemas.Environment, Message: "the file of kafka.tls.ca cannot be read", Err: err, Hint: "put it there, or correct ca: in millrace.yaml"}
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(text) {
			return nil, &schemas.Problem{Kind: schemas.Environment, Message: t.CA + " holds no certificate", Hint: "kafka.tls.ca is a PEM file: -----BEGIN CERTIFICATE-----"}
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, &schemas.Problem{Kind: schemas.Environment, Message: "the client's certificate cannot be used", Err: err, Hint: "kafka.tls.cert and key are PEM files, and the key is that of the certificate"}
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// password reads the password anew, so that a changed one counts from the next connection on.
func (s *SASL) password() (string, error) {
	if s.PasswordFile == "" {
		word, ok := os.LookupEnv(PasswordVariable)
		if !ok {
			return "", &schemas.Problem{Kind: schemas.Environment, Message: "there is no password for the Kafka user " + s.User,
				Hint: "set the environment variable " + PasswordVariable + ", or kafka.sasl.password_file in millrace.yaml"}
		}
		return word, nil
	}
	text, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return "", &schemas.Problem{Kind: schemas.Environment, Message: "the password of the Kafka user " + s.User + " cannot be read", Err: err,
			Hint: "put it into the file that kafka.sasl.password_file names"}
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}

// from says where the password is.
func (s *SASL) from() string {
	if s.PasswordFile == "" {
		return PasswordVariable
	}
	return s.PasswordFile
}

func (s *SASL) mechanism() sasl.Mechanism {
	if s.Mechanism == Plain {
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			word, err := s.password()
			return plain.Auth{User: s.User, Pass: word}, err
		})
	}
	auth := func(context.Context) (scram.Auth, error) {
		word, err := s.password()
		return scram.Auth{User: s.User, Pass: word}, err
	}
	if s.Mechanism == ScramSHA256 {
		return scram.Sha256(auth)
	}
	return scram.Sha512(auth)
}

// mechanism is one of franz-go's for kafka-go.
type mechanism struct{ sasl.Mechanism }

// Start begins to authenticate.
func (m mechanism) Start(ctx context.Context) (kafkasasl.StateMachine, []byte, error) {
	host := ""
	if meta := kafkasasl.MetadataFromContext(ctx); meta != nil {
		host = fmt.Sprintf("%s:%d", meta.Host, meta.Port)
	}
	s, first, err := m.Authenticate(ctx, host)
	return conversation{s}, first, err
}

type conversation struct{ sasl.Session }

// Next answers the broker.
func (c conversation) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	return c.Challenge(challenge)
}

// codec is the compression by kafka-go's name for it.
func (c Config) codec() (kafka.Compression, error) {
	switch c.Compression {
	case "": // zstd's windows would be megabytes a partition
		return kafka.Snappy, nil
	case "none":
		return 0, nil
	}
	var out kafka.Compression
	if err := out.UnmarshalText([]byte(c.Compression)); err != nil {
		return 0, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("unknown compression %q", c.Compression), Hint: "use none, gzip, snappy, lz4 or zstd"}
	}
	return out, nil
}
