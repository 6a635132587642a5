package httpclient

import (
	"crypto/tls"
	"fmt"

	promconfig "github.com/prometheus/common/config"
)

// ClientConfig is what crypto/tls makes of the block, for clients that don't speak HTTP. The file of authorities is read now, and the client
// certificate at each handshake. The name to verify is the caller's to set where server_name isn't.
func (t *TLS) ClientConfig() (*tls.Config, error) {
	version, ok := tlsVersion(t.MinVersion)
	if !ok {
		return nil, fmt.Errorf("%q is not a version of TLS", t.MinVersion)
	}
	return promconfig.NewTLSConfig(&promconfig.TLSConfig{
		CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, ServerName: t.ServerName,
		MinVersion: version, InsecureSkipVerify: t.InsecureSkipVerify,
	})
}
