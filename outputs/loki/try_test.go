package loki

import (
	"net/http"
	"strings"
	"testing"

	"github.com/grafana/loki/pkg/push"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestCheckPushesNothing(t *testing.T) {
	for _, tt := range []struct {
		status       int
		words        string
		well         bool
		what, remedy string
	}{
		{204, "", true, "", ""},
		{422, "error at least one valid stream is required for ingestion", true, "", ""}, // Loki 3
		{422, "something else", false, "answered 422", ""},
		{401, "no hunter2 here", false, "answered 401", "basic_auth"},
		{404, "", false, "answered 404", "path of the URL"},
		{500, "", false, "answered 500", "server's log"},
	} {
		s := newServer(t)
		s.answer = func(w http.ResponseWriter, r *http.Request, p *push.PushRequest) bool {
			if len(p.Streams) != 0 || r.Header.Get("X-Scope-OrgID") != "team-a" {
				t.Errorf("pushed %v with %v", p, r.Header)
			}
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte(tt.words))
			return true
		}
		o := newOutput(t, s.URL+pushPath, func(c *Config) {
			c.Tenant = "team-a"
			c.HTTP.BearerToken = config.NewSecret("hunter2")
		})
		var got []component.Finding
		o.Check(t.Context(), func(f component.Finding) { got = append(got, f) })
		o.client.Close()
		if len(got) != 1 || got[0].What != "push to "+s.URL+pushPath {
			t.Fatalf("%+v", got)
		}
		if remedy, what := component.Remedy(got[0].Err); tt.well && (what != "" || !strings.Contains(got[0].Detail, "nothing was written")) ||
			!tt.well && !strings.Contains(what, tt.what) || strings.Contains(what+remedy, "hunter2") {
			t.Errorf("%d: %q, remedy %q, detail %q", tt.status, what, remedy, got[0].Detail)
		}
	}
}
