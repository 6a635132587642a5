package ecs_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/internal/ecs"
	"github.com/hermod-agent/hermod/internal/ecs/ecstest"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func parse(t testing.TB, s string) config.URL {
	t.Helper()
	u, err := config.ParseURL(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestTheEndpointIsReadFromTheEnvironment(t *testing.T) {
	for value, want := range map[string]string{
		"":                                 "is not set, so this is no container of an ECS task",
		"  ":                               "is not set",
		"ftp://169.254.170.2/v4/x":         "not the address of an HTTP server",
		"http://u:hunter2@169.254.170.2/x": "more than a host and a path",
		"http://169.254.170.2/v4/x?a=b":    "more than a host and a path",
		"%zz":                              ecs.EndpointVariable,
		" http://169.254.170.2/v4/x ":      "",
	} {
		u, err := ecs.Endpoint(func(name string) (string, bool) { return value, name == ecs.EndpointVariable })
		switch {
		case want == "" && (err != nil || u.String() != "http://169.254.170.2/v4/x"):
			t.Errorf("%q: %s, %v", value, u, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%q: %v, want %s", value, err, want)
		}
		if remedy, _ := component.Remedy(err); err != nil && remedy == "" {
			t.Errorf("%q: no remedy", value)
		}
	}
}

func TestTheTaskIsReadFromAddressesOfFargateAlone(t *testing.T) {
	for address, want := range map[string]string{
		"http://169.254.170.2/v4/bae32def0ab64f06818e8862e58f8d6d-4159844948":  "bae32def0ab64f06818e8862e58f8d6d",
		"http://169.254.170.2/v4/bae32def0ab64f06818e8862e58f8d6d-4159844948/": "bae32def0ab64f06818e8862e58f8d6d",
		"http://169.254.170.2/v4/5d4f1a2b-6c1e-4f0a-9c57-0a2f7f3f8f11":         "",
		"http://169.254.170.2/v4/bae32def0ab64f06818e8862e58f8d6d":             "",
		"http://169.254.170.2/v4/BAE32DEF0AB64F06818E8862E58F8D6D-1":           "",
		"http://169.254.170.2/v4/bae32def0ab64f06818e8862e58f8d6d-41598x":      "",
		"http://169.254.170.2": "",
		"http://169.254.170.2/v4/bae32def0ab64f06818e8862e58f8d6d-":                  "",
		"http://169.254.170.2/v4/bae32def0ab64f06818e8862e58f8d6dbae32def0ab64f06-1": "",
	} {
		if got := ecs.TaskOf(parse(t, address)); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	if got := ecs.TaskOf(config.URL{}); got != "" {
		t.Errorf("without an address: %q", got)
	}
}

func TestATaskIsNamedByTheLastPartsOfItsARNs(t *testing.T) {
	for _, c := range []struct {
		task                ecs.Task
		id, cluster, region string
	}{
		{ecs.Task{TaskARN: "arn:aws:ecs:eu-west-1:1:task/prod/abc", Cluster: "arn:aws:ecs:eu-west-1:1:cluster/prod"}, "abc", "prod", "eu-west-1"},
		{ecs.Task{TaskARN: "arn:aws:ecs:eu-west-1:1:task/abc", Cluster: "default"}, "abc", "default", "eu-west-1"},
		{ecs.Task{TaskARN: "abc"}, "abc", "", ""},
	} {
		if id, cluster, region := c.task.ID(), c.task.ClusterName(), c.task.Region(); id != c.id || cluster != c.cluster || region != c.region {
			t.Errorf("%s: %q %q %q", c.task.TaskARN, id, cluster, region)
		}
	}
}

func TestNumbersMayBeMissingOrOdd(t *testing.T) {
	for text, want := range map[string]ecs.Number{
		`0`: {Set: true}, `12.5`: {Value: 12.5, Set: true}, `"7"`: {Value: 7, Set: true}, `9223372036854771712`: {Value: 9223372036854771712, Set: true},
		`null`: {}, `"x"`: {}, `[1]`: {}, `{"a":1}`: {}, `true`: {}, `"NaN"`: {}, `1e999`: {},
	} {
		var got ecs.Number
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestTimesMayBeMissingOrOdd(t *testing.T) {
	for text, want := range map[ecs.Time]float64{
		"2025-02-27T05:06:19.5Z": 1740632779.5, "2025-02-27T06:06:19.5+01:00": 1740632779.5, "": 0, "0001-01-01T00:00:00Z": 0, "yesterday": 0,
	} {
		if got, ok := text.Unix(); got != want || ok != (want != 0) {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
}

// pipes is a listener whose connections are made by a test.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// net/http gives a connection up that it can't take back within 50 ms, for which a busy machine may hold it up: by the clock of a bubble it never does.
func TestOneConnectionServesAllRequests(t *testing.T) {
	recorded := ecstest.New(t, "ec2")
	synctest.Test(t, func(t *testing.T) {
		dialled := make(pipes)
		server := &http.Server{Handler: recorded.Config.Handler}
		go func() { _ = server.Serve(dialled) }()
		defer server.Close()
		dials := 0
		client, err := ecs.NewClient(parse(t, recorded.Endpoint()), ecs.Options{Dial: func(context.Context, string, string) (net.Conn, error) {
			dials++
			here, there := net.Pipe()
			dialled <- there
			return here, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for range 3 {
			if task, err := client.Task(t.Context()); err != nil || len(task.Containers) != 3 {
				t.Fatalf("%+v, %v", task, err)
			}
			if stats, err := client.Stats(t.Context()); err != nil || len(stats) != 2 {
				t.Fatalf("%d, %v", len(stats), err)
			}
		}
		if dials != 1 {
			t.Errorf("%d connections", dials)
		}
	})
}

func TestARequestHasADeadlineOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := ecs.NewClient(parse(t, "http://169.254.170.2/v4/x"), ecs.Options{Dial: func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(10 * time.Second) // as long as a dialer tries
			return nil, errors.New("timeout")
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		before := time.Now()
		if _, err := client.Task(t.Context()); err == nil || !strings.Contains(err.Error(), "in time") {
			t.Errorf("%v", err)
		}
		if waited := time.Since(before); waited > 5*time.Second { // by the clock of the bubble
			t.Errorf("after %v", waited)
		}
		time.Sleep(10 * time.Second) // the dialer, which net/http lets finish
	})
}

func TestATaskSaysWhichOneItIs(t *testing.T) {
	server := ecstest.New(t, "fargate")
	getenv := func(string) (string, bool) { return server.Endpoint(), true }
	self := ecs.NewSelf(getenv, "hermod/test")
	for item, want := range map[string]string{
		"cluster": "prom-ecs-exporter-sandbox", "family": "prom-ecs-exporter-sandbox-main-fargate", "revision": "9",
		"task": "bae32def0ab64f06818e8862e58f8d6d", "availability_zone": "us-east-1a", "region": "us-east-1",
	} {
		if got, err := self.Get(t.Context(), item); got != want || err != nil {
			t.Errorf("%s: %q, %v", item, got, err)
		}
	}
	if n := server.Asked("/task"); n != 1 {
		t.Errorf("asked %d times", n)
	}

	server.Set("/task", `{"TaskARN": "arn:aws:ecs:eu-west-1:1:task/prod/abc"}`)
	self = ecs.NewSelf(getenv, "hermod/test")
	if _, err := self.Get(t.Context(), "availability_zone"); err == nil || !strings.Contains(err.Error(), "doesn't tell this task's availability_zone") {
		t.Errorf("%v", err)
	}
}

func TestWhereNobodyAnswersOneAttemptServesAllQuestions(t *testing.T) {
	server := ecstest.New(t, "fargate")
	server.Set("/task", "nothing of the kind")
	self := ecs.NewSelf(func(string) (string, bool) { return server.Endpoint(), true }, "hermod/test")
	if _, err := self.Get(t.Context(), "cluster"); err == nil || !strings.Contains(err.Error(), "isn't what ECS gives") {
		t.Errorf("%v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		tried := 0
		self := ecs.NewSelf(func(string) (string, bool) { tried++; return "", false }, "hermod/test")
		for _, item := range []string{"cluster", "task", "region"} {
			if _, err := self.Get(t.Context(), item); err == nil || !strings.Contains(err.Error(), "no container of an ECS task") {
				t.Errorf("%s: %v", item, err)
			}
		}
		if tried != 1 {
			t.Errorf("tried %d times", tried)
		}
		time.Sleep(time.Minute)
		if _, err := self.Get(t.Context(), "cluster"); err == nil || tried != 2 {
			t.Errorf("a minute later: %v, tried %d times", err, tried)
		}
	})
}
