package remotewrite

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/prompb"

	"github.com/hermod-agent/hermod/pipeline/component"
)

func TestCheckPushesNothing(t *testing.T) {
	for status, want := range map[int]string{204: "", 401: "answered 401", 400: "answered 400", 503: "answered 503"} {
		s := newReceiver(t)
		s.answer = func(w http.ResponseWriter, p *prompb.WriteRequest) bool {
			if len(p.Timeseries) != 0 || len(p.Metadata) != 0 {
				t.Errorf("pushed %v", p)
			}
			w.WriteHeader(status)
			return true
		}
		o := newOutput(t, s.URL+"/api/v1/write", nil)
		var got []component.Finding
		o.Check(t.Context(), func(f component.Finding) { got = append(got, f) })
		o.client.Close()
		if len(got) != 1 {
			t.Fatalf("%+v", got)
		}
		if _, what := component.Remedy(got[0].Err); want == "" && (what != "" || got[0].Detail == "") || !strings.Contains(what, want) {
			t.Errorf("%d: %q, %+v", status, what, got[0])
		}
	}
}
