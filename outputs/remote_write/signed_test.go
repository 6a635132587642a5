package remotewrite

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/aws"
	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

const canary = "s3cr3t-canary"

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func withSigV4(c *Config) {
	c.HTTP.SigV4 = &httpclient.SigV4{
		Region: "eu-west-1", AccessKey: config.NewSecret("AK"), SecretKey: config.NewSecret(canary), SessionToken: config.NewSecret(canary + "-token"),
	}
}

// What is signed is what goes over the wire: the compressed body, in whichever form, at each attempt.
func TestSignaturesAreOverTheCompressedBody(t *testing.T) {
	for _, compression := range []string{"snappy", "zstd"} {
		n := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			n++
			at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
			if err != nil {
				t.Error(err)
			}
			again := r.Clone(r.Context())
			again.URL.Scheme = "http"
			aws.Sign(again, aws.HashBody(body), aws.Credentials{AccessKey: "AK", SecretKey: canary, SessionToken: canary + "-token"}, aws.Scope{Region: "eu-west-1", Service: "aps"}, at)
			if got, want := r.Header.Get("Authorization"), again.Header.Get("Authorization"); got != want || !strings.Contains(got, "content-type;host;x-amz-date;x-amz-security-token") {
				t.Errorf("request %d: %s, want %s", n, got, want)
			}
			switch {
			case r.Header.Get("Content-Encoding") == "zstd": // the second form is signed for itself
				w.WriteHeader(http.StatusUnsupportedMediaType)
			case n < 3:
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		o := running(t, s.URL+"/workspaces/ws-1/api/v1/remote_write", func(c *Config) { withSigV4(c); c.Compression = compression })
		consume(t, o, newFixture(100).next())
		flush(t, o)
		if tr := balance(t, o); tr.Delivered != 100 || n < 3 {
			t.Errorf("%s: %+v after %d requests", compression, tr, n)
		}
		s.Close()
	}
}

func TestAMissingPermissionIsSaidWithoutSecrets(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"Message":"User: arn:aws:sts::1:assumed-role/x is not authorized to perform: aps:RemoteWrite `+r.Header.Get("X-Amz-Security-Token")+canary+`"}`)
	}))
	defer s.Close()
	var log lockedBuffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o := running(t, s.URL+"/x", func(c *Config) { withSigV4(c) }, func(env *component.Env) {
		env.Log, env.Status = logger, component.NewStatus(logger)
	})
	consume(t, o, newFixture(10).next())
	wait(t, func() bool { return len(o.env.Status.Faults()) > 0 })
	f := o.env.Status.Faults()[0]
	if !strings.Contains(f.What, "403") || !strings.Contains(f.What, "not authorized") || !strings.Contains(f.Remedy, "aps:RemoteWrite on the workspace") {
		t.Errorf("%+v", f)
	}
	if text := f.What + f.Remedy + log.String(); strings.Contains(text, canary) {
		t.Errorf("a secret is shown: %s", text)
	}
	if tr := balance(t, o); tr.Queued != 10 {
		t.Errorf("%+v", tr)
	}
}
