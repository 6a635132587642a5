package httpclient

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/aws"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// signedServer checks signatures as AWS does: it makes them again with the secret that it knows.
type signedServer struct {
	*httptest.Server
	mu     sync.Mutex
	keys   map[string]aws.Credentials // that it takes
	taken  []string                   // access keys
	bodies []string
	before func(w http.ResponseWriter, r *http.Request) bool
}

func newSignedServer(t *testing.T) *signedServer {
	s := &signedServer{keys: map[string]aws.Credentials{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.before != nil && s.before(w, r) {
			return
		}
		given := r.Header.Get("Authorization")
		_, key, _ := strings.Cut(given, "Credential=")
		key, _, _ = strings.Cut(key, "/")
		c, known := s.keys[key]
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		switch {
		case !known:
			http.Error(w, `{"message":"The security token included in the request is invalid."}`, http.StatusForbidden)
			return
		case err != nil || time.Since(at).Abs() > 5*time.Minute:
			http.Error(w, `{"message":"Signature expired"}`, http.StatusForbidden)
			return
		}
		again := r.Clone(r.Context())
		again.URL.Scheme = "http"
		aws.Sign(again, aws.HashBody(body), c, aws.Scope{Region: "eu-west-1", Service: "aps"}, at)
		if again.Header.Get("Authorization") != given || r.Header.Get("X-Amz-Security-Token") != c.SessionToken {
			http.Error(w, `{"message":"The request signature we calculated does not match the signature you provided. The Canonical String for this request should have been x-amz-security-token:`+
				r.Header.Get("X-Amz-Security-Token")+`"}`, http.StatusForbidden)
			return
		}
		s.taken, s.bodies = append(s.taken, key), append(s.bodies, string(body))
	}))
	t.Cleanup(s.Close)
	return s
}

func signedClient(t *testing.T, url string, cfg Config, env map[string]string) *Client {
	t.Helper()
	c, err := New(parse(t, url), cfg, Options{Name: "test", UserAgent: "hermod/test", Getenv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func post(t *testing.T, c *Client, body string) *Reply {
	t.Helper()
	reply, err := c.Post(t.Context(), http.Header{"Content-Type": {"application/x-protobuf"}}, []byte(body))
	if err != nil {
		explained, _ := c.Explain(err)
		t.Fatal(explained)
	}
	return reply
}

func static(region string) Config {
	return Config{SigV4: &SigV4{Region: region, AccessKey: config.NewSecret("AK"), SecretKey: config.NewSecret(canary), SessionToken: config.NewSecret(canary + "-token")}}
}

func TestRequestsAreSignedOverTheBodyThatIsSent(t *testing.T) {
	s := newSignedServer(t)
	s.keys["AK"] = aws.Credentials{AccessKey: "AK", SecretKey: canary, SessionToken: canary + "-token"}
	cfg := static("eu-west-1")
	cfg.Headers = map[string]config.Secret{"X-Amz-Mine": config.NewSecret("  a   b"), "X-Other": config.NewSecret("x")}
	c := signedClient(t, s.URL+"/workspaces/ws-1/api/v1/remote_write?b=2&a=%20x", cfg, nil)
	for _, body := range []string{"one", strings.Repeat("\x00\xff", 100_000), ""} {
		if reply := post(t, c, body); reply.Status != 200 {
			t.Errorf("%d %s", reply.Status, reply.Body)
		}
	}
	if len(s.bodies) != 3 || s.bodies[0] != "one" || len(s.bodies[1]) != 200_000 {
		t.Errorf("%d bodies", len(s.bodies))
	}
	// A body that can be read once only is refused before anything is sent.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, io.NopCloser(strings.NewReader("x")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(r); err == nil {
		t.Error("a body that can't be hashed is sent")
	}
}

func TestASecondTryIsSignedAnew(t *testing.T) {
	s := newSignedServer(t)
	s.keys["AK"] = aws.Credentials{AccessKey: "AK", SecretKey: canary, SessionToken: canary + "-token"}
	var dates []string
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		dates = append(dates, r.Header.Get("X-Amz-Date"))
		if len(dates) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return len(dates) == 1
	}
	c := signedClient(t, s.URL+"/x", static("eu-west-1"), nil)
	if reply := post(t, c, "body"); reply.Status != 503 {
		t.Fatal(reply.Status)
	}
	for first := time.Now().UTC().Format("20060102T150405Z"); time.Now().UTC().Format("20060102T150405Z") == first; {
		time.Sleep(20 * time.Millisecond) // the date has seconds
	}
	if reply := post(t, c, "body"); reply.Status != 200 || len(dates) != 2 || dates[0] == dates[1] {
		t.Errorf("%d %v", reply.Status, dates)
	}
}

func TestRolesOfAContainerAreUsedAndRenewedWhenTheyAreRefused(t *testing.T) {
	s := newSignedServer(t)
	var mu sync.Mutex
	now, asked := "AK1", 0
	ecs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if r.Header.Get("Authorization") != canary {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"AccessKeyId": now, "SecretAccessKey": canary, "Token": canary + now, "Expiration": time.Now().Add(time.Hour)})
	}))
	defer ecs.Close()
	for _, key := range []string{"AK1", "AK2"} {
		s.keys[key] = aws.Credentials{AccessKey: key, SecretKey: canary, SessionToken: canary + key}
	}
	c := signedClient(t, s.URL+"/x", Config{SigV4: &SigV4{}}, map[string]string{
		"AWS_REGION": "eu-west-1", "HOME": t.TempDir(), "AWS_CONTAINER_CREDENTIALS_FULL_URI": ecs.URL + "/creds", "AWS_CONTAINER_AUTHORIZATION_TOKEN": canary,
	})
	for range 3 {
		if reply := post(t, c, "x"); reply.Status != 200 {
			t.Fatalf("%d %s", reply.Status, reply.Body)
		}
	}
	if asked != 1 {
		t.Errorf("credentials were asked for %d times", asked)
	}
	// AK1 is taken back: the same request goes out again with what there is now.
	mu.Lock()
	now = "AK2"
	mu.Unlock()
	s.mu.Lock()
	delete(s.keys, "AK1")
	s.mu.Unlock()
	if reply := post(t, c, "x"); reply.Status != 200 || asked != 2 {
		t.Errorf("%d after %d", reply.Status, asked)
	}
	// So is AK2, and nothing comes after it: the answer is the server's, and nobody is asked without a pause.
	s.mu.Lock()
	delete(s.keys, "AK2")
	s.mu.Unlock()
	for range 3 {
		if reply := post(t, c, "x"); reply.Status != 403 || asked != 2 {
			t.Errorf("%d after %d", reply.Status, asked)
		}
	}
}

// Keys that were refused and were written anew meanwhile are used for the same request: nobody has to hear of it.
func TestARefusedRequestIsSentOnceMoreWithNewKeys(t *testing.T) {
	s := newSignedServer(t)
	s.keys["AK2"] = aws.Credentials{AccessKey: "AK2", SecretKey: canary}
	file := filepath.Join(t.TempDir(), "credentials")
	keys := func(key string) {
		if err := os.WriteFile(file, fmt.Appendf(nil, "[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n", key, canary), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys("AK1")
	c := signedClient(t, s.URL+"/x", Config{SigV4: &SigV4{Region: "eu-west-1"}}, map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_CONFIG_FILE": "/nowhere"})
	requests := 0
	s.before = func(http.ResponseWriter, *http.Request) bool {
		if requests++; requests == 1 {
			keys("AK2")
		}
		return false
	}
	if reply := post(t, c, "body"); reply.Status != 200 || requests != 2 || s.bodies[0] != "body" {
		t.Errorf("%d %s after %d requests", reply.Status, reply.Body, requests)
	}
}

func TestWithoutCredentialsNothingIsSent(t *testing.T) {
	s := newSignedServer(t)
	s.before = func(http.ResponseWriter, *http.Request) bool { t.Error("something was sent"); return true }
	c := signedClient(t, s.URL+"/x", Config{SigV4: &SigV4{Region: "eu-west-1"}}, map[string]string{"HOME": t.TempDir(), "AWS_EC2_METADATA_DISABLED": "true"})
	_, err := c.Post(t.Context(), nil, []byte("x"))
	explained, permanent := c.Explain(err)
	remedy, what := component.Remedy(explained)
	if !permanent || !strings.Contains(what, "AWS_ACCESS_KEY_ID") || !strings.Contains(what, s.URL) || !strings.Contains(remedy, "access_key") {
		t.Errorf("permanent %v: %v", permanent, explained)
	}
}

func TestRefusalsOfAWSAreExplained(t *testing.T) {
	for name, x := range map[string]struct {
		status int
		words  string
		date   time.Duration // of the server's clock, ahead of ours
		want   []string
	}{
		"permission":                         {403, `{"Message":"User: arn:aws:sts::1:assumed-role/x is not authorized to perform: aps:RemoteWrite on resource: arn:aws:aps:eu-west-1:1:workspace/ws-1"}`, 0, []string{"allow aps:RemoteWrite", "the config"}},
		"clock":                              {403, `{"message":"Signature expired: 20240101T000000Z is now earlier than 20240101T001000Z"}`, 0, []string{"clock"}},
		"clock that the server's date tells": {403, `{"message":"no"}`, 17 * time.Minute, []string{"clock", "17m0s behind"}},
		"clock ahead":                        {401, ``, -2 * time.Hour, []string{"2h0m0s ahead of"}},
		"region":                             {403, `{"message":"Credential should be scoped to a valid region."}`, 0, []string{`"aps" in "eu-west-1"`, "region"}},
		"expired":                            {403, `{"message":"The security token included in the request is expired"}`, 0, []string{"renewed"}},
		"unknown key":                        {403, `{"message":"The security token included in the request is invalid."}`, 0, []string{"doesn't know the access key"}},
		"wrong secret":                       {403, `{"message":"The request signature we calculated does not match the signature you provided. The Canonical String for this request should have been\n'POST\nx-amz-security-token:` + canary + `-tok`, 0, []string{"secret key"}},
		"no API":                             {403, `{"message":"Missing Authentication Token"}`, 0, []string{"URL", "/api/v1/remote_write"}},
		"something":                          {403, `{"message":"Forbidden ` + canary + `"}`, 0, []string{"aps:RemoteWrite", "region", "clock"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSignedServer(t)
			s.before = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Date", time.Now().Add(x.date).UTC().Format(http.TimeFormat))
				w.WriteHeader(x.status)
				io.WriteString(w, x.words)
				return true
			}
			c := signedClient(t, s.URL+"/x", static("eu-west-1"), nil)
			reply := post(t, c, "x")
			err := c.ExplainStatus(reply.Status, string(reply.Body), "")
			remedy, what := component.Remedy(err)
			for _, want := range x.want {
				if !strings.Contains(remedy, want) {
					t.Errorf("%q is missing in the remedy %q of %q", want, remedy, what)
				}
			}
			if strings.Contains(err.Error(), canary) || !strings.Contains(what, fmt.Sprint(x.status)) {
				t.Error(err)
			}
		})
	}
	// Who goes to AWS without a signature is told so.
	c := client(t, "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write", Config{})
	if err := c.ExplainStatus(403, "", ""); !strings.Contains(err.Error(), "sigv4") {
		t.Error(err)
	}
}

func TestServersThatRepeatSecretsAreNotQuoted(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, r.Header, password)
	}))
	defer s.Close()
	for name, cfg := range map[string]Config{
		"basic":   {BasicAuth: &BasicAuth{Username: "me", Password: config.NewSecret(canary)}},
		"bearer":  {BearerToken: config.NewSecret(canary)},
		"headers": {Headers: map[string]config.Secret{"X-Key": config.NewSecret(canary)}},
		"sigv4":   static("eu-west-1"),
	} {
		reply := post(t, signedClient(t, s.URL, cfg, nil), "x")
		if body := string(reply.Body); strings.Contains(body, canary) || !strings.Contains(body, "<secret>") {
			t.Errorf("%s: %s", name, body)
		}
	}
	with := strings.Replace(s.URL, "http://", "http://me:"+canary+"@", 1)
	if reply := post(t, client(t, with, Config{}), "x"); strings.Contains(string(reply.Body), canary) {
		t.Errorf("in the URL: %s", reply.Body)
	}
}

func TestAClientShowsItselfInOneWay(t *testing.T) {
	secret := config.NewSecret("x")
	all := Config{
		BasicAuth: &BasicAuth{Username: "me", Password: secret}, BearerToken: secret, SigV4: &SigV4{},
		OAuth2: &OAuth2{ClientID: "id", ClientSecret: secret, TokenURL: parse(t, "https://idp/token")},
	}
	pairs := []Config{
		{BasicAuth: all.BasicAuth, BearerToken: secret}, {BasicAuth: all.BasicAuth, SigV4: all.SigV4}, {BearerToken: secret, OAuth2: all.OAuth2},
		{OAuth2: all.OAuth2, SigV4: all.SigV4}, all,
	}
	for _, c := range pairs {
		errs := c.Validate()
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), "leave all but one of them out") || !strings.Contains(errs[0].Error(), strings.Join(c.ways(), " and ")) {
			t.Errorf("%v: %v", c.ways(), errs)
		}
	}
	for _, c := range []Config{{BasicAuth: all.BasicAuth}, {BearerToken: secret}, {OAuth2: all.OAuth2}, {SigV4: all.SigV4}} {
		if errs := c.Validate(); len(errs) > 0 {
			t.Errorf("%v: %v", c.ways(), errs)
		}
		_, err := New(parse(t, "https://me:"+canary+"@mimir/push"), c, Options{})
		if err == nil || !strings.Contains(err.Error(), c.ways()[0]) || strings.Contains(err.Error(), canary) {
			t.Errorf("credentials in the URL and %v: %v", c.ways(), err)
		}
	}
	if errs := (&Config{SigV4: &SigV4{}, Headers: map[string]config.Secret{"x-amz-date": secret}}).Validate(); len(errs) != 1 {
		t.Errorf("%v", errs)
	}
}

func TestTheSigV4BlockIsChecked(t *testing.T) {
	secret := config.NewSecret(canary)
	good := SigV4{Region: "eu-west-1", AccessKey: secret, SecretKey: secret, SessionToken: secret, RoleARN: "arn:aws:iam::1:role/x", ExternalID: "1", Service: "aps"}
	if errs := good.Validate(); len(errs) > 0 {
		t.Error(errs)
	}
	for name, c := range map[string]SigV4{
		"no secret key":     {AccessKey: secret},
		"no access key":     {SecretKey: secret},
		"token alone":       {SessionToken: secret},
		"keys and profile":  {AccessKey: secret, SecretKey: secret, Profile: "x"},
		"no ARN":            {RoleARN: "role"},
		"external ID alone": {ExternalID: "x"},
		"region":            {Region: "eu west"},
		"service":           {Service: "a/b"},
	} {
		errs := c.Validate()
		if len(errs) != 1 || strings.Contains(fmt.Sprint(errs), canary) {
			t.Errorf("%s: %v", name, errs)
		}
	}
}
