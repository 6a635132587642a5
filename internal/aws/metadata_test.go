package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
)

func environment(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}

func TestItemsOfTheMachineAreReadWithOneToken(t *testing.T) {
	var tokens, pages atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") == "300":
			tokens.Add(1)
			fmt.Fprint(w, "tok")
		case r.Method != http.MethodGet || r.Header.Get("X-Aws-Ec2-Metadata-Token") != "tok":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			pages.Add(1)
			text, ok := map[string]string{
				"/latest/meta-data/instance-id":                 "i-0123456789abcdef0",
				"/latest/meta-data/placement/availability-zone": "eu-central-1a\n",
				"/latest/meta-data/tags/instance/Cost%20Center": "42",
			}[r.URL.EscapedPath()]
			if !ok {
				w.WriteHeader(http.StatusNotFound)
			}
			fmt.Fprint(w, text)
		}
	}))
	defer s.Close()
	local := &http.Transport{}
	defer local.CloseIdleConnections()
	m := NewMetadata(environment(map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": s.URL}), patient{local})
	for item, want := range map[string]string{
		"instance-id": "i-0123456789abcdef0", "placement/availability-zone": "eu-central-1a", "tags/instance/Cost Center": "42",
	} {
		if got, err := m.Get(t.Context(), item); got != want || err != nil {
			t.Errorf("%s: %q, %v", item, got, err)
		}
	}
	_, err := m.Get(t.Context(), "tags/instance/Role")
	if remedy, what := component.Remedy(err); what != `this machine's metadata has no "tags/instance/Role"` || !strings.Contains(remedy, "allowed") {
		t.Errorf("%v", err)
	}
	if tokens.Load() != 1 || pages.Load() != 4 {
		t.Errorf("%d tokens, %d pages", tokens.Load(), pages.Load())
	}
}

func TestOffEC2TheMetadataIsGivenUpOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		m := NewMetadata(environment(nil), roundTripper(func(r *http.Request) (*http.Response, error) {
			asked++
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		before := time.Now()
		for _, item := range []string{"instance-id", "placement/region", "local-ipv4"} {
			_, err := m.Get(t.Context(), item)
			remedy, what := component.Remedy(err)
			if !strings.Contains(what, "no answer from http://169.254.169.254: no answer in time") || !strings.Contains(remedy, "EC2 machines alone") {
				t.Errorf("%s: %v", item, err)
			}
		}
		if waited := time.Since(before); waited != localTries*localTimeout || asked != localTries {
			t.Errorf("%v, asked %d times", waited, asked)
		}
		time.Sleep(restAfterFailure + time.Second)
		if _, err := m.Get(t.Context(), "instance-id"); err == nil || asked != 2*localTries {
			t.Errorf("afterwards: %v, asked %d times", err, asked)
		}
	})
}

func TestAStopIsNotTakenForAMachineWithoutMetadata(t *testing.T) {
	c := newCloud(t)
	c.machine("role", "AK", far)
	c.on("GET 169.254.169.254/latest/meta-data/instance-id", 200, "i-1")
	m := NewMetadata(environment(nil), c)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Get(stopped, "instance-id"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got, err := m.Get(t.Context(), "instance-id"); got != "i-1" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestMetadataThatIsSwitchedOffOrRefusedIsTold(t *testing.T) {
	for _, c := range []struct {
		name   string
		env    map[string]string
		change func(*cloud)
		want   string
	}{
		{"by the environment", map[string]string{"AWS_EC2_METADATA_DISABLED": "true"}, func(*cloud) {}, "AWS_EC2_METADATA_DISABLED is set"},
		{"for the machine", nil, func(c *cloud) { c.on("PUT 169.254.169.254/latest/api/token", 403, "") }, "gives no token: it answered 403"},
		{"by something else", nil, func(c *cloud) { c.on("PUT 169.254.169.254/latest/api/token", 200, "<html>\n</html>") }, "gives no token"},
		{"for the item", nil, func(c *cloud) { c.on("GET 169.254.169.254/latest/meta-data/instance-id", 500, "") }, `answered 500 for the "instance-id"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cloud := newCloud(t)
			cloud.machine("role", "AK", far)
			c.change(cloud)
			_, err := NewMetadata(environment(c.env), cloud).Get(t.Context(), "instance-id")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if remedy, _ := component.Remedy(err); remedy == "" {
				t.Errorf("no remedy in %v", err)
			}
		})
	}
}
