package httpclient

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/porttest"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// idp is a token server and, below /push, a server that takes its newest token.
type idp struct {
	*httptest.Server
	mu      sync.Mutex
	tokens  int // that were given
	good    string
	expires int // seconds; 0 isn't said
	secret  string
	form    map[string][]string // of the last request for a token
	pushes  []string            // bodies
	answer  func(w http.ResponseWriter, r *http.Request) bool
}

func newIDP(t *testing.T) *idp {
	s := &idp{expires: 3600, secret: canary}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.URL.Path == "/push" {
			var b strings.Builder
			if _, err := fmt.Fprint(&b, readAll(t, r)); err != nil {
				t.Error(err)
			}
			if r.Header.Get("Authorization") != "Bearer "+s.good {
				http.Error(w, "no "+r.Header.Get("Authorization"), http.StatusUnauthorized)
				return
			}
			s.pushes = append(s.pushes, b.String())
			return
		}
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		s.form = r.PostForm
		if s.answer != nil && s.answer(w, r) {
			return
		}
		id, secret, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		if id != "hermod" || secret != s.secret {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":"invalid_client","error_description":"not %s"}`, secret)
			return
		}
		s.tokens++
		s.good = fmt.Sprintf("%s-token-%d", canary, s.tokens)
		fmt.Fprintf(w, `{"access_token":"%s","token_type":"bearer","expires_in":%d}`, s.good, s.expires)
	}))
	t.Cleanup(s.Close)
	return s
}

func readAll(t *testing.T, r *http.Request) string {
	var b strings.Builder
	buf := make([]byte, 1024)
	for {
		n, err := r.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

func (s *idp) config(t *testing.T) Config {
	return Config{OAuth2: &OAuth2{
		ClientID: "hermod", ClientSecret: config.NewSecret(canary), TokenURL: parse(t, s.URL+"/token"), Scopes: []string{"metrics:write", "logs:write"},
		EndpointParams: map[string]config.Secret{"audience": config.NewSecret("mimir")},
	}}
}

func TestRequestsCarryATokenThatIsAskedForOnce(t *testing.T) {
	s := newIDP(t)
	c := client(t, s.URL+"/push", s.config(t))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if reply := post(t, c, fmt.Sprint(i)); reply.Status != 200 {
				t.Errorf("%d %s", reply.Status, reply.Body)
			}
		})
	}
	all.Wait()
	if s.tokens != 1 || len(s.pushes) != 8 {
		t.Errorf("%d tokens for %d pushes", s.tokens, len(s.pushes))
	}
	want := map[string]string{"grant_type": "client_credentials", "scope": "metrics:write logs:write", "audience": "mimir"}
	for name, value := range want {
		if got := s.form[name]; len(got) != 1 || got[0] != value {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestATokenThatIsRefusedIsReplacedAndNothingIsLost(t *testing.T) {
	s := newIDP(t)
	c := client(t, s.URL+"/push", s.config(t))
	post(t, c, "one")
	s.mu.Lock()
	s.good = "another" // revoked
	s.mu.Unlock()
	if reply := post(t, c, "two"); reply.Status != 200 {
		t.Errorf("%d", reply.Status)
	}
	if got := strings.Join(s.pushes, " "); got != "one two" || s.tokens != 2 {
		t.Errorf("%s with %d tokens", got, s.tokens)
	}
}

func TestATokenIsRenewedBeforeItEnds(t *testing.T) {
	s := newIDP(t)
	c := client(t, s.URL+"/push", s.config(t))
	b := c.chain.bearing
	post(t, c, "x")
	b.mu.Lock()
	if left := time.Until(b.renewAt); left < 58*time.Minute || left > 59*time.Minute {
		t.Errorf("renewed in %s", left)
	}
	b.renewAt = time.Now().Add(-time.Second)
	b.mu.Unlock()
	post(t, c, "x")
	if s.tokens != 2 {
		t.Errorf("%d tokens", s.tokens)
	}
	// The token server is down: the token that there is is used to its end, and it is left alone for a while.
	asked := 0
	s.mu.Lock()
	s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		asked++
		w.WriteHeader(http.StatusInternalServerError)
		return true
	}
	s.mu.Unlock()
	b.mu.Lock()
	b.renewAt = time.Now().Add(-time.Second)
	b.mu.Unlock()
	for range 5 {
		if reply := post(t, c, "x"); reply.Status != 200 {
			t.Errorf("%d", reply.Status)
		}
	}
	if asked > 2 { // the library asks twice to learn how the secret is to be sent
		t.Errorf("asked %d times", asked)
	}
	b.mu.Lock()
	b.token.Expiry = time.Now().Add(-time.Second)
	b.mu.Unlock()
	if _, err := c.Post(t.Context(), nil, nil); err == nil {
		t.Error("a token is used after its end")
	}
}

func TestAShortTokenDoesNotMakeABusyLoop(t *testing.T) {
	s := newIDP(t)
	s.expires = 30
	c := client(t, s.URL+"/push", s.config(t))
	for range 5 {
		post(t, c, "x")
	}
	if s.tokens != 1 {
		t.Errorf("%d tokens", s.tokens)
	}
}

func TestTheClientsSecretIsReadAgain(t *testing.T) {
	s := newIDP(t)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := s.config(t)
	cfg.OAuth2.ClientSecret = config.NewSecretFile(file)
	c := client(t, s.URL+"/push", cfg)
	post(t, c, "x")
	if err := os.WriteFile(file, []byte(canary+"-new"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.secret, s.good = canary+"-new", "revoked"
	s.mu.Unlock()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // a file is looked at once a second
		if reply, err := c.Post(t.Context(), nil, nil); err == nil && reply.Status == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new secret is not used")
		}
	}
}

func TestWhatIsWrongWithTokensIsSaid(t *testing.T) {
	closed := "http://" + porttest.Reserve(t)
	hang := func(w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
	reply := func(status int, kind, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	for name, c := range map[string]struct {
		change    func(*OAuth2)
		answer    func(http.ResponseWriter, *http.Request) bool
		permanent bool
		want      []string
	}{
		"wrong secret":  {func(o *OAuth2) { o.ClientSecret = config.NewSecret(canary + "-wrong") }, nil, true, []string{"invalid_client", "client_secret", `"hermod"`, "401"}},
		"scope":         {nil, reply(400, "application/json", `{"error":"invalid_scope"}`), true, []string{"invalid_scope", "check scopes"}},
		"audience":      {nil, reply(400, "application/json", `{"error":"invalid_request","error_description":"audience\u0000 missing"}`), true, []string{`audience\x00 missing`, "endpoint_params"}},
		"down":          {nil, reply(503, "text/html", canary), false, []string{"503", "token server's log"}},
		"busy":          {nil, reply(429, "text/html", ""), false, []string{"429"}},
		"not there":     {nil, reply(404, "text/html", canary), true, []string{"404", "token_url"}},
		"a page":        {nil, reply(200, "text/html", "<html>"+canary), true, []string{"none that a token server gives"}},
		"no token":      {nil, reply(200, "application/json", `{"x":"`+canary+`"}`), true, []string{"none that a token server gives"}},
		"a bad token":   {nil, reply(200, "application/json", `{"access_token":"a\nb","token_type":"bearer"}`), true, []string{"characters"}},
		"a redirect":    {nil, reply(302, "text/html", ""), true, []string{"302"}},
		"nobody":        {func(o *OAuth2) { o.TokenURL = parse(t, closed+"/token?key="+canary) }, nil, false, []string{"connection refused"}},
		"hangs":         {nil, hang, false, []string{"in time"}},
		"secret's file": {func(o *OAuth2) { o.ClientSecret = config.NewSecretFile("/nowhere/secret") }, nil, true, []string{"/nowhere/secret"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newIDP(t)
			s.answer = c.answer
			cfg := s.config(t)
			if c.change != nil {
				c.change(cfg.OAuth2)
			}
			cl := client(t, s.URL+"/push", cfg)
			timeout := time.Minute
			if name == "hangs" {
				timeout = 500 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			_, err := cl.Post(ctx, nil, []byte("x"))
			if err == nil {
				t.Fatal("no error")
			}
			explained, permanent := cl.Explain(err)
			for _, want := range c.want {
				if !strings.Contains(explained.Error(), want) {
					t.Errorf("%q is missing in: %v", want, explained)
				}
			}
			if remedy, _ := component.Remedy(explained); remedy == "" || permanent != c.permanent {
				t.Errorf("remedy %q, permanent %v: %v", remedy, permanent, explained)
			}
			if strings.Contains(explained.Error(), canary) || strings.Contains(err.Error(), canary) {
				t.Errorf("a secret is shown: %v, %v", explained, err)
			}
			if len(s.pushes) > 0 {
				t.Error("something was sent without a token")
			}
		})
	}
}

func TestARefusedNewTokenIsTheServersAnswer(t *testing.T) {
	s := newIDP(t)
	other := newIDP(t)
	c := client(t, other.URL+"/push", s.config(t))
	reply := post(t, c, "x")
	if reply.Status != 401 || s.tokens != 1 || strings.Contains(string(reply.Body), canary) {
		t.Errorf("%d %s after %d tokens", reply.Status, reply.Body, s.tokens)
	}
	if err := c.ExplainStatus(401, string(reply.Body), ""); !strings.Contains(err.Error(), `client "hermod"`) || !strings.Contains(err.Error(), "scopes") {
		t.Error(err)
	}
}

func TestTheTokenServersTLSIsItsOwn(t *testing.T) {
	s, ca := tlsServer(t, nil)
	cfg := Config{OAuth2: &OAuth2{ClientID: "x", ClientSecret: config.NewSecret(canary), TokenURL: parse(t, s.URL+"/token")}}
	_, err := client(t, "http://127.0.0.1:1/push", cfg).Post(t.Context(), nil, nil)
	explained, permanent := client(t, "http://127.0.0.1:1/push", cfg).Explain(err)
	if !permanent || !strings.Contains(explained.Error(), "authority") {
		t.Errorf("%v", explained)
	}
	cfg.OAuth2.TLS = &TLS{CAFile: ca}
	c := client(t, "http://127.0.0.1:1/push", cfg)
	_, err = c.Post(t.Context(), nil, nil)
	if explained, _ = c.Explain(err); !strings.Contains(explained.Error(), "none that a token server gives") { // it answers, with nothing
		t.Errorf("%v", explained)
	}
	cfg.OAuth2.TLS = &TLS{CAFile: "/nowhere/ca.pem"}
	if _, err := New(parse(t, "http://x/push"), cfg, Options{}); err == nil || !strings.Contains(err.Error(), "/nowhere/ca.pem") {
		t.Error(err)
	}
}

func TestTheOAuth2BlockIsChecked(t *testing.T) {
	bad := OAuth2{TokenURL: parse(t, "ftp://x/y"), EndpointParams: map[string]config.Secret{"scope": {}, "fine": {}}}
	if errs := bad.Validate(); len(errs) != 3 {
		t.Errorf("%v", errs)
	}
	status := component.NewStatus(slog.New(slog.DiscardHandler))
	cfg := Config{OAuth2: &OAuth2{ClientID: "x", TokenURL: parse(t, "http://idp/token"), TLS: &TLS{InsecureSkipVerify: true}}}
	client(t, "http://mimir/push", cfg).Warn(status)
	if got := status.Faults(); len(got) != 3 {
		t.Errorf("%+v", got)
	}
}
