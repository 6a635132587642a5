package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestParseAddress(t *testing.T) {
	for s, want := range map[string]string{
		"db:3306":                  "tcp db 3306",
		"db":                       "tcp db 0",
		"tcp://db:3306":            "tcp db 3306",
		"10.0.0.1:3306":            "tcp 10.0.0.1 3306",
		"[::1]:3306":               "tcp ::1 3306",
		"[::1]":                    "tcp ::1 0",
		"fe80::1":                  "tcp fe80::1 0",
		"/run/db.sock":             "unix /run/db.sock",
		"unix:/run/db.sock":        "unix /run/db.sock",
		"unix:///run/db.sock":      "unix /run/db.sock",
		"container://web_1.a-b:80": "container web_1.a-b 80",
		"container://web":          "container web 0",
		"compose://shop/db:3306":   "compose shop/db 3306",
		"compose://shop/db":        "compose shop/db 0",
	} {
		a, err := config.ParseAddress(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		got := fmt.Sprintf("%s %s %d", a.Kind, a.Host, a.Port)
		switch a.Kind {
		case config.AddressUnix:
			got = fmt.Sprintf("%s %s", a.Kind, a.Path)
		case config.AddressCompose:
			got = fmt.Sprintf("%s %s/%s %d", a.Kind, a.Project, a.Host, a.Port)
		case config.AddressTCP, config.AddressContainer:
		}
		if got != want || a.String() != s || !a.IsSet() {
			t.Errorf("%q: got %s (%s), want %s", s, got, a, want)
		}
	}
	for s, want := range map[string]string{
		"":                       "not an address",
		"db:0":                   "port",
		"db:x":                   "port",
		"db:65536":               "port",
		":3306":                  "without a host",
		"a b:1":                  "white space",
		"http://db:3306":         "not an address",
		"unix:":                  "absolute path",
		"unix:run/x":             "absolute path",
		"/":                      "absolute path",
		"db:3306/lottery":        "behind the port",
		"container://":           "without a host",
		"container://a/b:80":     "behind the port",
		"container://-x:80":      "name of a container",
		"container://ä:80":       "name of a container",
		"compose://shop:80":      "project and a service",
		"compose:///db:80":       "project and a service",
		"compose://shop/a/b:80":  "behind the port",
		"compose://sh op/db:80":  "white space",
		"root:hunter2@db:3306":   "attributes of their own",
		"container://hunter2@db": "attributes of their own",
		"[::1:3306":              "port",
	} {
		_, err := config.ParseAddress(s)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %q", s, err, want)
		}
	}
}

func TestAnAddressTakesTheUsualPortWhereItHasNone(t *testing.T) {
	for s, want := range map[string]string{
		"db": "db:3306", "db:1": "db:1", "fe80::1": "[fe80::1]:3306", "/run/x": "/run/x", "container://db": "container://db:3306",
		"compose://a/b/": "", "compose://a/b": "compose://a/b:3306",
	} {
		a, err := config.ParseAddress(s)
		if err != nil {
			if want != "" {
				t.Error(err)
			}
			continue
		}
		if got := a.WithPort(3306).String(); got != want {
			t.Errorf("%q becomes %q, want %q", s, got, want)
		}
	}
	if (config.Address{}).WithPort(1).IsSet() {
		t.Error("an address out of nothing")
	}
}

func TestAnAddressInAConfig(t *testing.T) {
	type block struct {
		Address config.Address `hcl:"address"`
	}
	load := func(value string) (*config.File, string) {
		types := []config.BlockType{{Kind: "input", Type: "x", New: func() any { return new(block) }, EmitsMetrics: true}}
		f, diags := config.Parse(map[string][]byte{"x.hcl": fmt.Appendf(nil, "input \"x\" \"y\" {\n address = %s\n}\n", value)}, config.Options{Types: types})
		return f, config.Render(diags, nil, false)
	}
	f, faults := load(`"container://db:3306"`)
	if faults != "" || f.Blocks[0].Config.(*block).Address.Host != "db" {
		t.Errorf("%s", faults)
	}
	other, _ := load(`"container://db:3307"`)
	if f.Blocks[0].Fingerprint == other.Blocks[0].Fingerprint {
		t.Error("another address is no change")
	}
	if _, faults = load(`"container://"`); !strings.Contains(faults, `x.hcl:2:12`) || !strings.Contains(faults, "compose://PROJECT/SERVICE") {
		t.Errorf("%s", faults)
	}
	if _, faults = load(`3306`); !strings.Contains(faults, `x.hcl:2:12`) {
		t.Errorf("%s", faults)
	}
}
