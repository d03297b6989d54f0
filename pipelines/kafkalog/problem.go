package kafkalog

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

// Refused turns an error that says why the cluster does not let us in into one a person can act on; nil for any other:
// such an error does not pass by waiting.
func (c Config) Refused(err error) *schemas.Problem {
	problem := func(says, hint string) *schemas.Problem { return c.problem(err, says, hint) }
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var network *net.OpError
	var header tls.RecordHeaderError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kafka.SASLAuthenticationFailed):
		if c.SASL == nil {
			return problem("wants to know who connects", "set kafka.sasl in millrace.yaml")
		}
		return problem("refuses the user "+c.SASL.User, "check mechanism and user of kafka.sasl in millrace.yaml, and the password in "+c.SASL.from())
	case errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kafka.UnsupportedSASLMechanism), errors.Is(err, kerr.IllegalSaslState):
		if c.SASL == nil {
			return problem("wants to know who connects", "set kafka.sasl in millrace.yaml")
		}
		return problem("does not take "+c.SASL.Mechanism, "set another mechanism under kafka.sasl in millrace.yaml, or name a listener with SASL")
	case errors.As(err, &authority):
		return problem("has a certificate of nobody who is believed", "name the PEM file of its authority: kafka: {tls: {ca: FILE}} in millrace.yaml")
	case errors.As(err, &host):
		return problem("has a certificate for another name", "name the brokers as the certificate does, or set kafka.tls.server_name in millrace.yaml")
	case errors.As(err, &invalid):
		return problem("has a certificate that does not count", "give the broker one that does, and look at this machine's clock")
	case errors.As(err, &header):
		return problem("does not speak TLS at this port", "name the port of a TLS listener, or remove kafka.tls from millrace.yaml")
	case errors.As(err, &network) && network.Op == "remote error":
		return problem("ends the TLS handshake", "a broker that wants a client's certificate needs kafka.tls.cert and key in millrace.yaml")
	case strings.Contains(err.Error(), "appear to be a tls alert"):
		return problem("speaks TLS at this port", "set kafka.tls in millrace.yaml, or name the port of a plain listener")
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed), errors.Is(err, kafka.TopicAuthorizationFailed), errors.Is(err, kafka.ClusterAuthorizationFailed):
		return problem("does not allow this", "give the user the right to read, write, create and describe the project's topics and those that begin with _millrace")
	}
	return nil
}

// HungUp turns an error of a cluster that ends connections before it has answered anything into one a person can act on; nil for any
// other. It may pass: a broker that starts or stops does so, and one that is spoken to in another way than it listens.
func (c Config) HungUp(err error) *schemas.Problem {
	var first *kgo.ErrFirstReadEOF
	if !errors.As(err, &first) {
		return nil
	}
	hint := "check that the port is that of a listener with TLS and SASL"
	switch {
	case c.TLS == nil && c.SASL == nil:
		hint = "if the listener wants TLS or SASL, set kafka.tls and kafka.sasl in millrace.yaml"
	case c.TLS == nil:
		hint = "if the listener wants TLS, set kafka.tls in millrace.yaml"
	case c.SASL == nil:
		hint = "if the listener wants SASL, set kafka.sasl in millrace.yaml; if it is a plain one, remove kafka.tls"
	}
	return c.problem(err, "ends every connection at once", hint)
}

func (c Config) problem(err error, says, hint string) *schemas.Problem {
	return &schemas.Problem{Kind: schemas.Environment, Message: "Kafka at " + strings.Join(c.Brokers, ", ") + " " + says, Err: err, Hint: hint}
}

// unreachable turns a connection's error into one a person can act on; Kafka's own answers stay as they are, and so does
// the end of the caller's patience.
func (l *Log) unreachable(ctx context.Context, err error) error {
	var problem *schemas.Problem
	var known *kerr.Error
	var theirs kafka.Error
	if why := cmp.Or(l.config.Refused(err), l.config.HungUp(err)); why != nil && !errors.As(err, &problem) {
		return why
	}
	at := "Kafka at " + strings.Join(l.config.Brokers, ", ")
	switch {
	case unheard(err):
		return fmt.Errorf("%w: %w", ErrNoTopic, err)
	case err == nil, errors.As(err, &problem), errors.As(err, &known), errors.As(err, &theirs), errors.Is(err, context.Canceled), errors.Is(err, errDamaged):
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s has not answered in the time there was: %w", at, ctx.Err())
	}
	if refused := l.config.refusedBy(ctx); refused != nil {
		return refused
	}
	hint := "check that it runs and that brokers: in millrace.yaml names it"
	if l.config.TLS != nil {
		hint += ", and that the port is that of a TLS listener"
	}
	return &schemas.Problem{Kind: schemas.Environment, Message: at + " is out of reach", Err: err, Hint: hint}
}

// refusedBy asks every address alone: of several that fail, a client tells only of the last.
func (c Config) refusedBy(ctx context.Context) *schemas.Problem {
	for _, addr := range c.Brokers {
		var refused *schemas.Problem
		if err := c.Knock(ctx, addr); errors.As(err, &refused) && !errors.Is(err, errSilent) {
			return refused
		}
	}
	return nil
}

// errSilent: a broker could not be reached at all.
var errSilent = errors.New("it does not answer")

// Knock tries one address: whether a broker answers there and lets us in. Errors: a Problem of kind Environment.
func (c Config) Knock(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, patience/3)
	defer cancel()
	c.Brokers = []string{addr}
	client, err := newClient(c)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.SeedBrokers()[0].Request(ctx, kmsg.NewPtrMetadataRequest())
	if err == nil {
		return nil
	}
	if refused := cmp.Or(c.Refused(err), c.HungUp(err)); refused != nil {
		return refused
	}
	if c.SASL != nil && errors.Is(err, io.EOF) {
		return &schemas.Problem{Kind: schemas.Environment, Message: "Kafka at " + addr + " ends the connection when " + c.SASL.User + " logs in", Err: err,
			Hint: "check mechanism and user of kafka.sasl in millrace.yaml, and the password in " + c.SASL.from()}
	}
	if c.TLS == nil && errors.Is(err, io.ErrUnexpectedEOF) { // Kafka answers with a TLS alert, which is shorter than an answer
		return &schemas.Problem{Kind: schemas.Environment, Message: "Kafka at " + addr + " does not speak plain text", Err: err,
			Hint: "if it is a TLS listener, set kafka.tls in millrace.yaml"}
	}
	hint := "start it, or correct brokers: in millrace.yaml"
	if c.TLS != nil {
		hint += "; check that the port is that of a TLS listener"
	}
	return &schemas.Problem{Kind: schemas.Environment, Message: "the broker " + addr + " does not answer", Err: fmt.Errorf("%w: %w", errSilent, err), Hint: hint}
}

// passes says whether an error is one that ends when a leader has moved or a broker is back.
func (l *Log) passes(err error) bool {
	var known *kerr.Error
	var theirs kafka.Error
	switch {
	case err == nil, errors.Is(err, errDamaged), errors.Is(err, errAnother), l.config.Refused(err) != nil:
		return false
	case errors.As(err, &known):
		return known.Retriable && known != kerr.UnknownTopicOrPartition && known != kerr.UnknownTopicID
	case errors.As(err, &theirs):
		return theirs.Temporary() && theirs != kafka.UnknownTopicOrPartition
	}
	return true
}

// again calls f, and calls it again while a leader moves or a broker is gone, as long as another broker answers. It returns
// when ctx ends, which a client that waits for a connection does not.
func again[T any](ctx context.Context, l *Log, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	began := time.Now()
	for try := 0; ; try++ {
		done := make(chan answer, 1)
		go func() {
			v, err := f()
			done <- answer{v, err}
		}()
		var got answer
		select {
		case got = <-done:
		case <-ctx.Done():
			return got.value, ctx.Err()
		}
		limit := handover
		if unheard(got.err) {
			limit = patience
		}
		if !l.passes(got.err) || ctx.Err() != nil || time.Since(began) > limit || l.dead(ctx, got.err) {
			return got.value, got.err
		}
		select {
		case <-ctx.Done():
			return got.value, got.err
		case <-time.After(min(time.Second, 25*time.Millisecond<<min(try, 6))):
		}
	}
}

// unheard says that kafka-go has not heard of a topic or a partition, which may be new.
func unheard(err error) bool {
	return errors.Is(err, protocol.ErrNoTopic) || errors.Is(err, protocol.ErrNoPartition)
}

// dead says whether the error came from no broker and none answers now.
func (l *Log) dead(ctx context.Context, err error) bool {
	var known *kerr.Error
	var theirs kafka.Error
	if errors.As(err, &known) || errors.As(err, &theirs) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, patience/2)
	defer cancel()
	return l.client.Ping(ctx) != nil
}
