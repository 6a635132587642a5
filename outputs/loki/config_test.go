package loki

import (
	"testing"

	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func basicAuth(user, password string) *httpclient.BasicAuth {
	return &httpclient.BasicAuth{Username: user, Password: config.NewSecret(password)}
}

func TestConfigIsChecked(t *testing.T) {
	good := defaults()
	good.URL = parseURL(t, "https://loki:3100/loki/api/v1/push")
	if errs := good.Validate(); len(errs) > 0 {
		t.Error(errs)
	}
	for name, change := range map[string]func(*Config){
		"no path":     func(c *Config) { c.URL = parseURL(t, "http://loki:3100") },
		"no HTTP":     func(c *Config) { c.URL = parseURL(t, "ftp://loki:3100/x") },
		"tenant":      func(c *Config) { c.Tenant = "a\r\nX-Evil: 1" },
		"batch_size":  func(c *Config) { c.BatchSize = 1 },
		"line size 0": func(c *Config) { c.MaxLineSize = 0 },
	} {
		c := good
		change(&c)
		if errs := c.Validate(); len(errs) != 1 {
			t.Errorf("%s: %v", name, errs)
		}
	}
}
