package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// certificates writes a certificate authority and what it signs into a folder, as PEM: ca.pem; broker.pem, which is key and
// chain in one as Kafka wants it; client.pem and client-key.pem.
func certificates(dir string) error {
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "millrace cluster"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caPEM, _, caKey, err := issue(ca, ca, nil)
	if err != nil {
		return err
	}
	broker := &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	brokerPEM, brokerKey, _, err := issue(broker, ca, caKey)
	if err != nil {
		return err
	}
	client := &x509.Certificate{Subject: pkix.Name{CommonName: "client"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	clientPEM, clientKey, _, err := issue(client, ca, caKey)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"ca.pem": caPEM, "broker.pem": slices.Concat(brokerKey, brokerPEM, caPEM), "client.pem": clientPEM, "client-key.pem": clientKey} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// issue makes a key and signs a certificate for it; with no key of the signer the certificate signs itself.
func issue(c, signer *x509.Certificate, signerKey crypto.Signer) (cert, key []byte, private crypto.Signer, err error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	if signerKey == nil {
		signerKey = own
	}
	c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, nil, err
	}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(5, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, c, signer, own.Public(), signerKey)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("sign the certificate of %s: %w", c.Subject.CommonName, err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		return nil, nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}), own, nil
}
