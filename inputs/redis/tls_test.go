package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/component"
)

// certificate makes a self-signed one for the name and gives the path of its PEM as well.
func certificate(t *testing.T, name string, until time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

// tlsServer is a fakeServer behind TLS.
func tlsServer(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	behind := newServer(t, answers())
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			behind.wg.Go(func() {
				behind.mu.Lock()
				behind.conns = append(behind.conns, c)
				behind.mu.Unlock()
				behind.serve(c)
			})
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func TestTLSSaysWhatIsWrongWithIt(t *testing.T) {
	good, goodCA := certificate(t, "redis.test", time.Now().Add(time.Hour))
	old, oldCA := certificate(t, "redis.test", time.Now().Add(-time.Hour))
	plain := newServer(t, nil)
	plain.mu.Lock()
	plain.greeting = "-ERR Protocol error\r\n"
	plain.mu.Unlock()
	strict := &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}
	for name, tt := range map[string]struct {
		address      string
		tls          httpclient.TLS
		what, remedy string
	}{
		"well":                  {tlsServer(t, &tls.Config{Certificates: []tls.Certificate{good}}), httpclient.TLS{CAFile: goodCA, ServerName: "redis.test"}, "", ""},
		"an unknown authority":  {tlsServer(t, &tls.Config{Certificates: []tls.Certificate{good}}), httpclient.TLS{ServerName: "redis.test"}, "authority that isn't trusted here (CN=redis.test)", "ca_file"},
		"another name":          {tlsServer(t, &tls.Config{Certificates: []tls.Certificate{good}}), httpclient.TLS{CAFile: goodCA}, "is for another name", "server_name"},
		"out of date":           {tlsServer(t, &tls.Config{Certificates: []tls.Certificate{old}}), httpclient.TLS{CAFile: oldCA, ServerName: "redis.test"}, "out of date", "renew"},
		"a client's is missing": {tlsServer(t, strict), httpclient.TLS{CAFile: goodCA, ServerName: "redis.test"}, "broke the TLS handshake off", "cert_file and key_file"},
		"no TLS":                {plain.listener.Addr().String(), httpclient.TLS{}, "doesn't speak TLS", "leave tls out"},
		"no file":               {plain.listener.Addr().String(), httpclient.TLS{CAFile: "/none.pem"}, "none.pem", "files that the tls block names"},
	} {
		t.Run(name, func(t *testing.T) {
			// What a server sends before it closes can be lost on the way, so once isn't enough to see.
			for range 5 {
				r := newRig(t, tt.address, func(c *Config) { c.TLS = &tt.tls })
				_, err := r.collect()
				remedy, what := component.Remedy(err)
				if tt.what == "" {
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				if !strings.Contains(what, tt.what) || !strings.Contains(remedy, tt.remedy) {
					t.Fatalf("%q, remedy %q", what, remedy)
				}
			}
		})
	}
}
