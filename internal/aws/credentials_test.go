package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "s3cr3t-canary"

// cloud answers for every address of AWS, without a network.
type cloud struct {
	t  testing.TB
	mu sync.Mutex
	// answers by "METHOD host/path", or by the Action of a form to the token service; what isn't there isn't reachable.
	answers map[string]func(r *http.Request) (int, string)
	asked   []string
}

func newCloud(t testing.TB) *cloud {
	return &cloud{t: t, answers: map[string]func(*http.Request) (int, string){}}
}

func (c *cloud) on(what string, status int, body string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[what] = func(*http.Request) (int, string) { return status, body }
}

func (c *cloud) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	what := r.Method + " " + r.URL.Host + r.URL.Path
	if r.Method == http.MethodPost {
		if err := r.ParseForm(); err != nil {
			c.t.Error(err)
		}
		what = r.PostForm.Get("Action")
	}
	c.mu.Lock()
	c.asked = append(c.asked, what)
	answer := c.answers[what]
	c.mu.Unlock()
	if answer == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route to host")}
	}
	w := httptest.NewRecorder()
	status, body := answer(r)
	w.WriteHeader(status)
	w.WriteString(body)
	return w.Result(), nil
}

func (c *cloud) count(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, a := range c.asked {
		if a == what {
			n++
		}
	}
	return n
}

// machine gives the cloud an EC2 machine's metadata.
func (c *cloud) machine(role, key string, expires time.Time) {
	const at = " 169.254.169.254/latest/"
	c.on("PUT"+at+"api/token", 200, "token-of-the-machine")
	with := func(body string) func(r *http.Request) (int, string) {
		return func(r *http.Request) (int, string) {
			if r.Header.Get("X-Aws-Ec2-Metadata-Token") != "token-of-the-machine" {
				return 401, ""
			}
			return 200, body
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers["GET"+at+"meta-data/iam/security-credentials/"] = with(role)
	c.answers["GET"+at+"meta-data/iam/security-credentials/"+role] = with(issuedJSON(key, expires, "Success"))
	c.answers["GET"+at+"meta-data/placement/region"] = with("eu-central-1")
}

func issuedJSON(key string, expires time.Time, code string) string {
	m := map[string]string{"AccessKeyId": key, "SecretAccessKey": canary + "-secret", "Token": canary + "-token", "Expiration": expires.UTC().Format(time.RFC3339)}
	if code != "" {
		m["Code"] = code
	}
	text, _ := json.Marshal(m)
	return string(text)
}

func stsXML(action, key string, expires time.Time) string {
	return fmt.Sprintf(`<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/x/hermod</Arn></AssumedRoleUser>`+
		`<Credentials><AccessKeyId>%[2]s</AccessKeyId><SecretAccessKey>%[3]s-secret</SecretAccessKey><SessionToken>%[3]s-token</SessionToken><Expiration>%[4]s</Expiration></Credentials>`+
		`</%[1]sResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></%[1]sResponse>`, action, key, canary, expires.UTC().Format(time.RFC3339))
}

func stsFault(code, message string) string {
	return fmt.Sprintf(`<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`, code, message)
}

// provider looks into the cloud, with an environment.
func provider(c *cloud, env map[string]string, change func(*Options)) *Provider {
	o := Options{Net: c, Local: c, Getenv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	if change != nil {
		change(&o)
	}
	return NewProvider(o)
}

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var far = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

func TestCredentialsAreFoundWhereAWSPutsThem(t *testing.T) {
	profile := write(t, "# mine\n[other]\naws_access_key_id = WRONG\n\n[default]\naws_access_key_id = AKPROFILE\naws_secret_access_key="+canary+"\n")
	settings := write(t, "[default]\nregion = ap-northeast-2\ns3 =\n  region = nowhere\n[profile metrics]\naws_access_key_id = AKMETRICS # x\naws_secret_access_key = "+canary+"\naws_session_token = "+canary+"\nregion=sa-east-1\n")
	token := write(t, canary+"\n")
	base := map[string]string{"AWS_CONFIG_FILE": settings, "AWS_SHARED_CREDENTIALS_FILE": profile}
	nothing := map[string]string{"HOME": t.TempDir()}
	for name, c := range map[string]struct {
		env    map[string]string // besides base, "" takes away
		change func(*Options)
		cloud  func(*cloud)
		key    string
		region string
		source string
	}{
		"the config goes before all": {
			map[string]string{"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": canary, "AWS_REGION": "us-east-1"},
			func(o *Options) {
				o.AccessKey, o.SecretKey, o.Region = config.NewSecret("AKCONFIG"), config.NewSecret(canary), "eu-west-2"
			}, nil, "AKCONFIG", "eu-west-2", "the config",
		},
		"the environment goes before the profile": {
			map[string]string{"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": canary, "AWS_DEFAULT_REGION": "us-east-1"}, nil, nil, "AKENV", "us-east-1", "the environment",
		},
		"a service account": {
			map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:aws:iam::1:role/pod", "AWS_REGION": "eu-north-1"}, nil,
			func(c *cloud) {
				c.answers["AssumeRoleWithWebIdentity"] = func(r *http.Request) (int, string) {
					f := r.PostForm
					if r.URL.String() != "https://sts.eu-north-1.amazonaws.com/" || f.Get("WebIdentityToken") != canary || f.Get("RoleArn") != "arn:aws:iam::1:role/pod" ||
						f.Get("Version") != "2011-06-15" || f.Get("RoleSessionName") != "hermod" || r.Header.Get("Authorization") != "" {
						return 400, stsFault("ValidationError", r.URL.String())
					}
					return 200, stsXML("AssumeRoleWithWebIdentity", "AKPOD", far)
				}
			}, "AKPOD", "eu-north-1", "role arn:aws:iam::1:role/pod",
		},
		"the default profile":            {nil, nil, nil, "AKPROFILE", "ap-northeast-2", `profile "default"`},
		"the profile of the environment": {map[string]string{"AWS_PROFILE": "metrics"}, nil, nil, "AKMETRICS", "sa-east-1", `profile "metrics"`},
		"the profile of the config": {
			map[string]string{"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": canary}, func(o *Options) { o.Profile = "metrics" }, nil, "AKMETRICS", "sa-east-1", `profile "metrics"`,
		},
		"a task on Fargate": {
			map[string]string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/1", "AWS_REGION": "us-west-2", "none": ""}, nil,
			func(c *cloud) { c.on("GET 169.254.170.2/v2/credentials/1", 200, issuedJSON("AKTASK", far, "")) }, "AKTASK", "us-west-2", "the role of this container",
		},
		"a pod's identity": {
			map[string]string{
				"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token, "AWS_REGION": "us-west-2", "none": "",
			}, nil,
			func(c *cloud) {
				c.answers["GET 169.254.170.23/v1/credentials"] = func(r *http.Request) (int, string) {
					if r.Header.Get("Authorization") != canary {
						return 401, ""
					}
					return 200, issuedJSON("AKPODID", far, "")
				}
			}, "AKPODID", "us-west-2", "the role of this container",
		},
		"a machine": {
			map[string]string{"none": ""}, nil, func(c *cloud) { c.machine("writer", "AKMACHINE", far) }, "AKMACHINE", "eu-central-1", "the role of this machine",
		},
		"the region of the server's name": {
			map[string]string{"AWS_REGION": "us-east-1", "none": ""}, func(o *Options) { o.Host = "aps-workspaces.eu-west-3.amazonaws.com" },
			func(c *cloud) { c.machine("writer", "AKMACHINE", far) }, "AKMACHINE", "eu-west-3", "the role of this machine",
		},
		"a role with the machine's": {
			map[string]string{"none": ""}, func(o *Options) { o.RoleARN, o.ExternalID = "arn:aws:iam::2:role/metrics", "42" },
			func(c *cloud) {
				c.machine("writer", "AKMACHINE", far)
				c.answers["AssumeRole"] = func(r *http.Request) (int, string) {
					f := r.PostForm
					if !strings.Contains(r.Header.Get("Authorization"), "Credential=AKMACHINE/") || !strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/sts/aws4_request") ||
						r.Header.Get("X-Amz-Security-Token") == "" || f.Get("RoleArn") != "arn:aws:iam::2:role/metrics" || f.Get("ExternalId") != "42" {
						return 403, stsFault("AccessDenied", r.Header.Get("Authorization"))
					}
					return 200, stsXML("AssumeRole", "AKROLE", far)
				}
			}, "AKROLE", "eu-central-1", "role arn:aws:iam::2:role/metrics",
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := base
			if _, ok := c.env["none"]; ok {
				env = nothing
			}
			all := map[string]string{}
			for _, m := range []map[string]string{env, c.env} {
				for k, v := range m {
					all[k] = v
				}
			}
			cl := newCloud(t)
			if c.cloud != nil {
				c.cloud(cl)
			}
			got, region, err := provider(cl, all, c.change).Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.AccessKey != c.key || region != c.region || got.Source != c.source || !strings.HasPrefix(got.SecretKey, canary) {
				t.Errorf("%s from %s in %s", got.AccessKey, got.Source, region)
			}
		})
	}
}

// hushed fails where an error, printed in any way, shows a secret.
func hushed(t *testing.T, values ...any) {
	t.Helper()
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, canary) {
				t.Errorf("a secret is shown: %s", text)
			}
		}
	}
}

func TestWhatIsMissingIsSaidWithARemedy(t *testing.T) {
	token := write(t, canary)
	home := t.TempDir()
	keys := map[string]string{"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": canary, "AWS_SESSION_TOKEN": canary}
	plus := func(m map[string]string, more ...string) map[string]string {
		out := map[string]string{"AWS_REGION": "eu-west-1", "HOME": home}
		for k, v := range m {
			out[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	role := func(o *Options) { o.RoleARN = "arn:aws:iam::2:role/metrics" }
	for name, c := range map[string]struct {
		env    map[string]string
		change func(*Options)
		cloud  func(*cloud)
		want   []string
		temp   bool
	}{
		"nothing anywhere": {plus(nil), nil, nil, []string{
			"AWS_ACCESS_KEY_ID is not set", "AWS_WEB_IDENTITY_TOKEN_FILE is not set", home + "/.aws/credentials doesn't exist",
			"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set", "no route to host", "access_key", "hop limit",
		}, true},
		"no metadata wanted": {plus(nil, "AWS_EC2_METADATA_DISABLED", "true"), nil, nil, []string{"AWS_EC2_METADATA_DISABLED is set"}, false},
		"a machine without role": {plus(nil), nil, func(c *cloud) {
			c.on("PUT 169.254.169.254/latest/api/token", 200, "x")
			c.on("GET 169.254.169.254/latest/meta-data/iam/security-credentials/", 404, "")
		}, []string{"this machine has no role"}, false},
		"metadata switched off": {plus(nil), nil, func(c *cloud) { c.on("PUT 169.254.169.254/latest/api/token", 403, "") }, []string{"answered 403"}, false},
		"a role that isn't there": {plus(nil), nil, func(c *cloud) {
			c.machine("writer", "AK", far)
			c.on("GET 169.254.169.254/latest/meta-data/iam/security-credentials/writer", 200, `{"Code":"AssumeRoleUnauthorizedAccess","Message":"no trust"}`)
		}, []string{"AssumeRoleUnauthorizedAccess", "no trust"}, true},
		"half a key":            {plus(nil, "AWS_ACCESS_KEY_ID", "AK"), nil, nil, []string{"AWS_SECRET_ACCESS_KEY isn't"}, false},
		"the other half":        {plus(nil, "AWS_SECRET_ACCESS_KEY", canary), nil, nil, []string{"AWS_ACCESS_KEY_ID isn't"}, false},
		"a broken key":          {plus(nil, "AWS_ACCESS_KEY_ID", "AK", "AWS_SECRET_ACCESS_KEY", canary+"\nx"), nil, nil, []string{"characters"}, false},
		"no region":             {map[string]string{"HOME": home}, nil, nil, []string{"AWS_REGION", "set region"}, false},
		"no role for the token": {plus(nil, "AWS_WEB_IDENTITY_TOKEN_FILE", token), nil, nil, []string{"AWS_ROLE_ARN isn't"}, false},
		"no token":              {plus(nil, "AWS_WEB_IDENTITY_TOKEN_FILE", home+"/none", "AWS_ROLE_ARN", "arn:x"), nil, nil, []string{home + "/none doesn't exist"}, false},
		"a refused token": {plus(nil, "AWS_WEB_IDENTITY_TOKEN_FILE", token, "AWS_ROLE_ARN", "arn:x"), nil, func(c *cloud) {
			c.on("AssumeRoleWithWebIdentity", 400, stsFault("InvalidIdentityToken", "no provider for "+canary))
		}, []string{"InvalidIdentityToken", "trust policy", "arn:x"}, false},
		"a busy token service": {plus(nil, "AWS_WEB_IDENTITY_TOKEN_FILE", token, "AWS_ROLE_ARN", "arn:x"), nil, func(c *cloud) {
			c.on("AssumeRoleWithWebIdentity", 503, "down")
		}, []string{"503"}, true},
		"no way to the token service": {plus(nil, "AWS_WEB_IDENTITY_TOKEN_FILE", token, "AWS_ROLE_ARN", "arn:x"), nil, nil, []string{"sts.eu-west-1.amazonaws.com", "no route", "proxy_url"}, true},
		"a role that is refused": {plus(keys), role, func(c *cloud) {
			c.on("AssumeRole", 403, stsFault("AccessDenied", "User: arn:aws:iam::1:user/x is not authorized to perform: sts:AssumeRole"))
		}, []string{"role/metrics", "AccessDenied", "sts:AssumeRole on the role"}, false},
		"a wrong signature": {plus(keys), role, func(c *cloud) {
			c.on("AssumeRole", 403, stsFault("SignatureDoesNotMatch", "The Canonical String for this request should have been: x-amz-security-token:"+canary))
		}, []string{"SignatureDoesNotMatch", "clock"}, false},
		"a throttled one": {plus(keys), role, func(c *cloud) { c.on("AssumeRole", 400, stsFault("Throttling", "slow")) }, []string{"Throttling"}, true},
		"expired ones":    {plus(keys), role, func(c *cloud) { c.on("AssumeRole", 200, stsXML("AssumeRole", "AK", time.Unix(1, 0))) }, []string{"expired at 1970", "clock"}, true},
		"a container's fault": {plus(nil, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x"), nil, func(c *cloud) {
			c.on("GET 169.254.170.2/x", 404, "no such task")
		}, []string{"404", "no such task"}, false},
		"a container that can't ask": {plus(nil, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x"), nil, nil, []string{"no route"}, true},
		"somebody else's address":    {plus(nil, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://evil.example/"+canary), nil, nil, []string{"without TLS"}, false},
		"not JSON":                   {plus(nil, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x"), nil, func(c *cloud) { c.on("GET 169.254.170.2/x", 200, "<"+canary) }, []string{"JSON"}, true},
		"no such profile":            {plus(nil), func(o *Options) { o.Profile = "gone" }, nil, []string{`profile "gone"`, "doesn't exist"}, false},
		"a role in the profile": {plus(nil, "AWS_SHARED_CREDENTIALS_FILE", write(t, "[default]\nrole_arn = arn:x\nsource_profile = base\n")), nil, nil,
			[]string{"holds role_arn", `profile = "base"`}, false},
		"a program in the profile": {plus(nil, "AWS_SHARED_CREDENTIALS_FILE", write(t, "[default]\ncredential_process = /bin/x --password "+canary+"\n")), nil, nil,
			[]string{"credential_process", "starts no programs"}, false},
		"a session in the profile": {plus(nil, "AWS_CONFIG_FILE", write(t, "[default]\nsso_session = x\n")), nil, nil, []string{"sso_session"}, false},
		"half a profile":           {plus(nil, "AWS_SHARED_CREDENTIALS_FILE", write(t, "[default]\naws_secret_access_key = "+canary+"\n")), nil, nil, []string{"one half"}, false},
		"a folder":                 {plus(nil, "AWS_SHARED_CREDENTIALS_FILE", home), nil, nil, []string{"not a regular file"}, false},
		"a secret's file": {plus(nil), func(o *Options) {
			o.AccessKey, o.SecretKey = config.NewSecret("AK"), config.NewSecretFile(home+"/none")
		}, nil, []string{"secret_key", home + "/none"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCloud(t)
			if c.cloud != nil {
				c.cloud(cl)
			}
			_, _, err := provider(cl, c.env, c.change).Get(t.Context())
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing in: %v", want, err)
				}
			}
			if remedy, _ := component.Remedy(err); remedy == "" || e.Temporary != c.temp {
				t.Errorf("remedy %q, temporary %v: %v", remedy, e.Temporary, err)
			}
			hushed(t, err)
		})
	}
}

func TestCredentialsAreRenewedBeforeTheyExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCloud(t)
		const page = "GET 169.254.169.254/latest/meta-data/iam/security-credentials/writer"
		begin := time.Now()
		at := func(key string, after time.Duration) { cl.machine("writer", key, begin.Add(after)) }
		at("AK1", time.Hour)
		p := provider(cl, map[string]string{"AWS_REGION": "eu-west-1"}, nil)
		get := func(want string) {
			t.Helper()
			c, _, err := p.Get(t.Context())
			if err != nil || c.AccessKey != want {
				t.Errorf("after %s: %s, %v", time.Since(begin), c.AccessKey, err)
			}
		}
		get("AK1")
		at("AK2", 2*time.Hour)
		time.Sleep(54 * time.Minute)
		get("AK1")
		if n := cl.count(page); n != 1 {
			t.Errorf("asked %d times", n)
		}
		time.Sleep(time.Minute + time.Second) // five minutes are left
		get("AK2")

		// The next ones can't be had: those that there are are used to their end, and the search rests between.
		cl.on("PUT 169.254.169.254/latest/api/token", 500, "")
		time.Sleep(time.Until(begin.Add(2*time.Hour - 4*time.Minute)))
		before := cl.count("PUT 169.254.169.254/latest/api/token")
		for range 100 {
			get("AK2")
		}
		if n := cl.count("PUT 169.254.169.254/latest/api/token") - before; n != localTries {
			t.Errorf("asked %d times for one renewal", n)
		}
		time.Sleep(5 * time.Minute)
		if _, _, err := p.Get(t.Context()); err == nil {
			t.Error("expired credentials are given out")
		}
		at("AK3", 4*time.Hour)
		get("AK3")
	})
}

func TestOneSearchServesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCloud(t)
		open := make(chan struct{})
		n := 0
		cl.answers["GET 169.254.170.2/x"] = func(*http.Request) (int, string) {
			n++
			<-open
			return 200, issuedJSON("AK", far, "")
		}
		p := provider(cl, map[string]string{"AWS_REGION": "eu-west-1", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x", "HOME": "/nowhere"}, nil)
		var all sync.WaitGroup
		for i := range 20 {
			if i == 1 {
				synctest.Wait() // the first one searches
			}
			all.Go(func() {
				if c, _, err := p.Get(t.Context()); err != nil || c.AccessKey != "AK" {
					t.Errorf("%v %v", c, err)
				}
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(func() { // one who doesn't wait
			if _, _, err := p.Get(ctx); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(open)
		all.Wait()
		if n != 1 {
			t.Errorf("%d searches", n)
		}
	})
}

func TestAnAddressThatHangsCostsSecondsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCloud(t)
		p := provider(cl, map[string]string{"AWS_REGION": "eu-west-1", "HOME": "/nowhere"}, func(o *Options) {
			o.Local = roundTripper(func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() })
		})
		begin := time.Now()
		_, _, err := p.Get(t.Context())
		if err == nil || !strings.Contains(err.Error(), "no answer in time") || time.Since(begin) > 3*time.Second {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRefusedCredentialsAreRenewedTwiceAMinuteAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCloud(t)
		cl.machine("writer", "AK1", far)
		p := provider(cl, map[string]string{"AWS_REGION": "eu-west-1"}, nil)
		first, _, err := p.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cl.machine("writer", "AK2", far)
		if !p.Refused(first) || p.Refused(first) {
			t.Error("not renewed, or twice")
		}
		if c, _, err := p.Get(t.Context()); err != nil || c.AccessKey != "AK2" {
			t.Errorf("%v %v", c, err)
		}
		if !p.Refused(first) { // another sender that was under way with the old ones
			t.Error("who was refused with the old ones is told to give up")
		}
		second, _ := p.Now()
		if p.Refused(second) {
			t.Error("renewed again at once")
		}
		time.Sleep(renewPause)
		if !p.Refused(second) {
			t.Error("not renewed any more")
		}
	})
}

func TestKeysInAFileAreReadAgain(t *testing.T) {
	file := write(t, "[default]\naws_access_key_id=AK1\naws_secret_access_key="+canary+"\n")
	synctest.Test(t, func(t *testing.T) {
		p := provider(newCloud(t), map[string]string{"AWS_REGION": "eu-west-1", "AWS_SHARED_CREDENTIALS_FILE": file, "AWS_CONFIG_FILE": "/nowhere"}, nil)
		get := func() string { c, _, err := p.Get(t.Context()); return fmt.Sprint(c.AccessKey, err) }
		if got := get(); got != "AK1<nil>" {
			t.Error(got)
		}
		if err := os.WriteFile(file, []byte("[default]\naws_access_key_id=AK2\naws_secret_access_key="+canary+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookAgain)
		if got := get(); got != "AK2<nil>" {
			t.Error(got)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookAgain)
		if got := get(); !strings.Contains(got, "doesn't exist") {
			t.Errorf("keys that were taken away are used on: %s", got)
		}
	})
}

func TestCredentialsAreNeverPrinted(t *testing.T) {
	c := Credentials{AccessKey: "AK" + canary, SecretKey: canary, SessionToken: canary, Source: "the config"}
	text, err := json.Marshal(struct{ C Credentials }{c})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "c", c, "p", &c)
	hushed(t, c, &c, struct{ X Credentials }{c}, []Credentials{c}, string(text), b.String())
}

func TestNamesOfRegionsAndServersAreRecognised(t *testing.T) {
	for host, want := range map[string]string{
		"aps-workspaces.us-east-1.amazonaws.com": "us-east-1", "aps-workspaces-fips.us-gov-west-1.amazonaws.com": "us-gov-west-1",
		"vpce-0a1b-xyz.aps-workspaces.ap-southeast-12.vpce.amazonaws.com": "ap-southeast-12", "APS-Workspaces.EU-West-1.amazonaws.com": "eu-west-1",
		"aps-workspaces.cn-north-1.amazonaws.com.cn": "cn-north-1", "aps-workspaces.us-east-1.api.aws": "us-east-1",
		"mimir.example": "", "us-east-1.example.com": "", "sts.amazonaws.com": "", "": "", "10.0.0.1": "",
	} {
		if got := hostRegion(host); got != want {
			t.Errorf("%s: %q", host, got)
		}
	}
	for region, want := range map[string]string{
		"eu-west-1": "https://sts.eu-west-1.amazonaws.com/", "cn-north-1": "https://sts.cn-north-1.amazonaws.com.cn/",
		"us-iso-east-1": "https://sts.us-iso-east-1.c2s.ic.gov/", "us-isob-east-1": "https://sts.us-isob-east-1.sc2s.sgov.gov/",
		"eusc-de-east-1": "https://sts.eusc-de-east-1.amazonaws.eu/",
	} {
		if got := provider(nil, nil, nil).stsAddress(region); got != want {
			t.Errorf("%s: %s", region, got)
		}
	}
	if got := provider(nil, map[string]string{"AWS_ENDPOINT_URL_STS": "https://vpce/"}, nil).stsAddress("x"); got != "https://vpce/" {
		t.Error(got)
	}
	for address, want := range map[string]bool{
		"https://anywhere.example/x": true, "http://127.0.0.1:8080/x": true, "http://localhost/x": true, "http://[::1]/x": true, "http://169.254.170.2/x": true,
		"http://169.254.170.23/v1": true, "http://[fd00:ec2::23]/v1": true, "http://10.0.0.1/": false, "ftp://127.0.0.1/": false, "x": false, "http://localhost.evil.example/": false,
	} {
		if err := mayAsk(address); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// patient lets requests take longer than an address of this machine is given: a busy machine may hold a test up.
type patient struct{ *http.Transport }

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	return p.Transport.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
}

// Real listeners in place of AWS's addresses: what goes over the wire is what the documents say.
func TestTheMachinesMetadataIsReadOverHTTP(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		switch {
		case r.Method == http.MethodPut && r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") != "":
			fmt.Fprint(w, "tok")
		case r.Header.Get("X-aws-ec2-metadata-token") != "tok":
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/security-credentials/"):
			fmt.Fprintln(w, "role with space")
		default:
			fmt.Fprint(w, issuedJSON("AKHTTP", far, "Success"))
		}
	}))
	defer s.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	p := NewProvider(Options{Region: "eu-west-1", Net: tr, Local: patient{tr}, Getenv: func(name string) (string, bool) {
		return map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": s.URL + "/", "HOME": "/nowhere"}[name], true
	}})
	c, _, err := p.Get(t.Context())
	if err != nil || c.AccessKey != "AKHTTP" || len(asked) != 3 {
		t.Errorf("%v %v %v", c.AccessKey, err, asked)
	}
}

func FuzzProfile(f *testing.F) {
	f.Add("[default]\nregion = x\n[profile a b]\n k = v\n=\n[", "default")
	f.Fuzz(func(t *testing.T, text, name string) {
		values := map[string]string{}
		if !section(text, name, values) && len(values) > 0 {
			t.Errorf("%q has values without a section", text)
		}
	})
}
