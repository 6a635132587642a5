package prometheus

import (
	"net"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/component"
)

func check(t *testing.T, b *bench) component.Finding {
	t.Helper()
	var got []component.Finding
	b.Check(t.Context(), func(f component.Finding) { got = append(got, f) })
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	return got[0]
}

func TestCheckSaysWhetherThePageCouldBeServed(t *testing.T) {
	running := newBench(t, nil)
	if f := check(t, running); f.Err != nil || f.Detail != "free" {
		t.Errorf("a free port: %+v", f)
	}
	stop := running.serve(t)
	taken := running.address.String()
	at := func(address string) *bench {
		return newBench(t, func(_ *component.Env, c *Config) { c.Listen = address })
	}
	if f := check(t, at(taken)); f.Err == nil || !f.Note || !strings.Contains(f.Err.Error(), "an agent serves its page") {
		t.Errorf("beside a running agent: %+v", f)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := make(chan struct{})
	go func() {
		defer close(silent)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	f := check(t, at(l.Addr().String()))
	_ = l.Close()
	<-silent
	if remedy, _ := component.Remedy(f.Err); f.Note || !strings.Contains(remedy, "ss -ltnp") {
		t.Errorf("another program: %+v", f)
	}
}
