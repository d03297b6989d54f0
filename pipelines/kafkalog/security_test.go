package kafkalog_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// papers are an authority's certificate and one it gave to 127.0.0.1, as files.
type papers struct{ ca, cert, key string }

func newPapers(t *testing.T) papers {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	issue := func(of, by *x509.Certificate, key, byKey *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, of, by, &key.PublicKey, byKey)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	caKey, ownKey := key(), key()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	own := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: from, NotAfter: to, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	raw, err := x509.MarshalPKCS8PrivateKey(ownKey)
	if err != nil {
		t.Fatal(err)
	}
	return papers{
		ca:   write("ca.pem", "CERTIFICATE", issue(ca, ca, caKey, caKey)),
		cert: write("cert.pem", "CERTIFICATE", issue(own, ca, ownKey, caKey)),
		key:  write("key.pem", "PRIVATE KEY", raw),
	}
}

// server is the broker's side; with mutual it wants a certificate of the same authority.
func (p papers) server(t *testing.T, mutual bool) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	out := &tls.Config{Certificates: []tls.Certificate{pair}}
	if mutual {
		text, err := os.ReadFile(p.ca)
		if err != nil {
			t.Fatal(err)
		}
		out.ClientAuth, out.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		out.ClientCAs.AppendCertsFromPEM(text)
	}
	return out
}

// brokers starts a cluster of several brokers; the first address that a client gets does not answer.
func brokers(t *testing.T, options ...kfake.Opt) []string {
	t.Helper()
	cluster, err := kfake.NewCluster(append(options, kfake.NumBrokers(3), kfake.SeedTopics(2, "flights"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return append([]string{"127.0.0.1:1"}, cluster.ListenAddrs()...)
}

func secret(t *testing.T, word string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(word+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// everything goes each way: topics made, published to, asked about and read.
func everything(c kafkalog.Config, topic string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	log, err := kafkalog.Open(c)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := log.CreateTopic(ctx, topic, 3, nil); err != nil {
		return err
	}
	for p := range int32(3) {
		if err := log.Publish(ctx, topic, []kafkalog.Message{{Partition: p, Value: []byte("a")}, {Partition: p, Value: []byte("b")}}); err != nil {
			return err
		}
		reader := log.Read(topic, schemas.Range{Partition: p, To: 2}, kafkalog.ReadOptions{})
		defer reader.Close()
		chunk, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		if n := len(chunk.Records); n != 2 {
			return fmt.Errorf("%d records", n)
		}
	}
	return nil
}

// Every way of securing a listener works for every request, and the JSON that travels in a pipeline tells no password.
func TestSecureListeners(t *testing.T) {
	p := newPapers(t)
	const word = "pass,word = \u00fc"
	for _, mechanism := range []string{"", kafkalog.Plain, kafkalog.ScramSHA256, kafkalog.ScramSHA512} {
		for _, under := range []string{"plain text", "TLS", "mutual TLS"} {
			t.Run(mechanism+" "+under, func(t *testing.T) {
				var options []kfake.Opt
				c := kafkalog.Config{}
				if mechanism != "" {
					options = append(options, kfake.EnableSASL(), kfake.Superuser(mechanism, "millrace", word))
					c.SASL = &kafkalog.SASL{Mechanism: mechanism, User: "millrace", PasswordFile: secret(t, word)}
				}
				switch under {
				case "TLS":
					c.TLS = &kafkalog.TLS{CA: p.ca}
					options = append(options, kfake.TLS(p.server(t, false)))
				case "mutual TLS":
					c.TLS = &kafkalog.TLS{CA: p.ca, Cert: p.cert, Key: p.key}
					options = append(options, kfake.TLS(p.server(t, true)))
				}
				c.Brokers = brokers(t, options...)
				text, err := json.Marshal(c)
				if err != nil || strings.Contains(string(text), "pass,word") {
					t.Fatalf("%s, %v", text, err)
				}
				var travelled kafkalog.Config
				if err := json.Unmarshal(text, &travelled); err != nil {
					t.Fatal(err)
				}
				if err := everything(travelled, "made"); err != nil {
					t.Fatal(err)
				}
				asked := false
				guarded, err := c.Guarded(func() error { asked = true; return nil })
				if err != nil {
					t.Fatal(err)
				}
				client, err := kgo.NewClient(guarded...)
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				if err := client.Ping(t.Context()); err != nil || !asked {
					t.Errorf("guarded: %v, asked %t", err, asked)
				}
				if mechanism != "" {
					t.Setenv(kafkalog.PasswordVariable, word)
					c.SASL.PasswordFile = ""
					if err := everything(c, "again"); err != nil {
						t.Errorf("with the password in the environment: %v", err)
					}
				}
			})
		}
	}
}

// What is wrong with a connection is said at once, with the next step.
func TestWrongConnections(t *testing.T) {
	p, other := newPapers(t), newPapers(t)
	scram := func(word string) *kafkalog.SASL {
		return &kafkalog.SASL{Mechanism: kafkalog.ScramSHA512, User: "millrace", PasswordFile: secret(t, word)}
	}
	secured := brokers(t, kfake.TLS(p.server(t, false)))
	mutual := brokers(t, kfake.TLS(p.server(t, true)))
	users := brokers(t, kfake.EnableSASL(), kfake.Superuser(kafkalog.ScramSHA512, "millrace", "right"))
	missing := filepath.Join(t.TempDir(), "missing")
	for name, c := range map[string]struct {
		kafkalog.Config
		says string
	}{
		"plain text to TLS":      {kafkalog.Config{Brokers: secured}, "set kafka.tls"},
		"an unknown authority":   {kafkalog.Config{Brokers: secured, TLS: &kafkalog.TLS{CA: other.ca}}, "tls: {ca: FILE}"},
		"the system's authority": {kafkalog.Config{Brokers: secured, TLS: &kafkalog.TLS{}}, "tls: {ca: FILE}"},
		"another name":           {kafkalog.Config{Brokers: secured, TLS: &kafkalog.TLS{CA: p.ca, ServerName: "kafka"}}, "kafka.tls.server_name"},
		"no client certificate":  {kafkalog.Config{Brokers: mutual, TLS: &kafkalog.TLS{CA: p.ca}}, "kafka.tls.cert"},
		"a wrong password":       {kafkalog.Config{Brokers: users, SASL: scram("wrong")}, "password"},
		"nobody":                 {kafkalog.Config{Brokers: users}, "kafka.sasl"},
		"no CA file":             {kafkalog.Config{Brokers: secured, TLS: &kafkalog.TLS{CA: missing}}, "correct ca:"},
		"no certificate in it":   {kafkalog.Config{Brokers: secured, TLS: &kafkalog.TLS{CA: p.key}}, "PEM"},
		"a key of another":       {kafkalog.Config{Brokers: mutual, TLS: &kafkalog.TLS{CA: p.ca, Cert: p.cert, Key: other.key}}, "key is that of the certificate"},
		"no password file":       {kafkalog.Config{Brokers: users, SASL: &kafkalog.SASL{Mechanism: kafkalog.Plain, User: "a", PasswordFile: missing}}, "kafka.sasl.password_file"},
		"no password":            {kafkalog.Config{Brokers: users, SASL: &kafkalog.SASL{Mechanism: kafkalog.Plain, User: "a"}}, kafkalog.PasswordVariable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := everything(c.Config, "made")
			var problem *schemas.Problem
			if !errors.As(err, &problem) || schemas.KindOf(err) != schemas.Environment || !strings.Contains(problem.Hint, c.says) || strings.Contains(err.Error(), "wrong") && name == "a wrong password" {
				t.Errorf("%v, wanted in its hint: %s", err, c.says)
			}
		})
	}
}

// A caller's own deadline is not the cluster's fault.
func TestACallersDeadline(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	log, err := kafkalog.Open(kafkalog.Config{Brokers: []string{silent.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := log.Topic(ctx, "flights"); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "out of reach") {
		t.Errorf("Topic = %v", err)
	}
}
