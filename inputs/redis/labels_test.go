package redis

import (
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/internal/discover"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestLabelsSayAsWhomAndNeverWhere(t *testing.T) {
	address, err := config.ParseAddress("container://shop_cache:6380")
	if err != nil {
		t.Fatal(err)
	}
	found := func(labels map[string]string, secret string) *discover.Found {
		f := &discover.Found{Container: "shop_cache", Address: address, Labels: labels}
		if secret != "" {
			f.Secret = config.NewSecret(secret)
		}
		return f
	}
	cfg := defaults()
	cfg.User = "hermod"
	cfg.Discovery.Discover = true
	for _, tt := range []struct {
		labels       map[string]string
		secret, user string
	}{
		{nil, "", ""},
		{nil, "of the label", "hermod"},
		{map[string]string{"user": "monitor"}, "of the label", "monitor"},
	} {
		own, err := cfg.labelled(found(tt.labels, tt.secret))
		if err != nil {
			t.Errorf("%v: %v", tt, err)
			continue
		}
		if own.User != tt.user || own.Password.IsSet() != (tt.secret != "") || own.Address.String() != address.String() || own.Discovery.Discover {
			t.Errorf("%v gives the user %q at %s", tt, own.User, own.Address)
		}
		if errs := own.Validate(); len(errs) > 0 {
			t.Errorf("%v: %v", tt, errs)
		}
	}
	_, err = cfg.labelled(found(map[string]string{"user": "monitor"}, ""))
	if remedy, what := component.Remedy(err); !strings.Contains(what, "shop_cache") || !strings.Contains(remedy, "hermod.redis.secret") {
		t.Error(err)
	}
}

func TestABlockForContainersNamesNeitherAServerNorAPassword(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"address: with discover":  func(c *Config) { c.Address, _ = config.ParseAddress("db:6379") },
		"password: with discover": func(c *Config) { c.Password = config.NewSecret("x") },
	} {
		cfg := defaults()
		cfg.Discovery.Discover = true
		if errs := cfg.Validate(); len(errs) != 0 {
			t.Error(errs)
		}
		change(&cfg)
		if errs := cfg.Validate(); len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("want %q, got %v", want, errs)
		}
	}
	cfg := defaults()
	if errs := cfg.Validate(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "address") {
		t.Errorf("without a server: %v", errs)
	}
}
