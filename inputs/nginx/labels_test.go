package nginx

import (
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/internal/discover"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func found(t *testing.T, secret string, labels ...string) *discover.Found {
	t.Helper()
	a, err := config.ParseAddress("container://web:81")
	if err != nil {
		t.Fatal(err)
	}
	f := &discover.Found{Container: "web", Address: a, Labels: map[string]string{}, Secret: config.NewSecret(secret)}
	for i := 0; i < len(labels); i += 2 {
		f.Labels[labels[i]] = labels[i+1]
	}
	return f
}

func TestLabelsSayHowAContainerIsAskedAndNeverWhere(t *testing.T) {
	for _, tt := range []struct {
		url   string // of the block
		found *discover.Found
		want  string
	}{
		{"", found(t, ""), "http://web/stub_status"},
		{"https://x:1/status?a=b", found(t, ""), "https://web/status?a=b"},
		{"", found(t, "", "path", "/s?x=1", "host", "status.example.com"), "http://status.example.com/s?x=1"},
		{"", found(t, "", "path", "//evil.example.com/x"), "http://web//evil.example.com/x"},
		{"", found(t, "", "path", "/@evil.example.com:80/x"), "http://web/@evil.example.com:80/x"},
	} {
		c := defaults()
		if tt.url != "" {
			c.URL, _ = config.ParseURL(tt.url)
		}
		own, err := c.labelled(tt.found)
		if err != nil {
			t.Error(err)
			continue
		}
		page, server, err := own.where()
		if err != nil || page.String() != tt.want || server.String() != "container://web:81" {
			t.Errorf("%s at %s, %v; want %s", page, server, err, tt.want)
		}
	}
	for label, value := range map[string]string{"path": "http://evil/x", "host": "evil/x", "user": "root"} {
		c := defaults()
		_, err := c.labelled(found(t, "", label, value))
		if remedy, what := component.Remedy(err); !strings.Contains(what, "hermod.nginx."+label) || remedy == "" {
			t.Errorf("%s = %s: %v", label, value, err)
		}
	}
}

func TestASecretIsAPasswordOrAToken(t *testing.T) {
	c := defaults()
	own, err := c.labelled(found(t, "hunter2", "user", "hermod"))
	if err != nil || own.HTTP.BasicAuth == nil || own.HTTP.BasicAuth.Username != "hermod" || own.HTTP.BearerToken.IsSet() {
		t.Errorf("%+v, %v", own, err)
	}
	own, err = c.labelled(found(t, "hunter2"))
	if err != nil || own.HTTP.BasicAuth != nil || !own.HTTP.BearerToken.IsSet() {
		t.Errorf("%+v, %v", own, err)
	}
	if c.HTTP.BasicAuth != nil || c.HTTP.BearerToken.IsSet() {
		t.Error("the block's own config was changed")
	}
}
