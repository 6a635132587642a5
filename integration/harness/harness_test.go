//go:build integration

package harness

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/grafana/loki/pkg/push"
	"github.com/prometheus/prometheus/prompb"

	"github.com/hermod-agent/hermod/integration/lines"
)

func post(t *testing.T, url string, body []byte, header ...string) (status int, err error) {
	t.Helper()
	return postWithin(t, time.Minute, url, body, header...)
}

func postWithin(t *testing.T, limit time.Duration, url string, body []byte, header ...string) (status int, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode, nil
}

func TestLokiCountsWhatItTookAndNothingElse(t *testing.T) {
	loki := NewLoki(t)
	request := push.PushRequest{Streams: []push.Stream{{Labels: `{container="a", stream="stdout"}`, Entries: []push.Entry{
		{Timestamp: time.Unix(1, 5), Line: "x"}, {Timestamp: time.Unix(1, 5), Line: "x"}, {Timestamp: time.Unix(1, 4), Line: "y \"quoted\""},
	}}}}
	raw, err := request.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	body := snappy.Encode(nil, raw)
	send := func() (int, error) { return post(t, loki.URL(), body, "Content-Type", "application/x-protobuf") }

	if status, err := send(); status != 204 || err != nil {
		t.Fatalf("a push got %d, %v: %v", status, err, loki.Faults())
	}
	for _, a := range []Answer{{Status: 503}, {Status: 429, RetryAfter: time.Second}, {Status: 401}} {
		loki.Answer(a)
		if status, err := send(); status != a.Status || err != nil {
			t.Errorf("told to answer %d: %d, %v", a.Status, status, err)
		}
	}
	loki.Answer(Answer{Hang: true})
	if status, err := postWithin(t, time.Second, loki.URL(), body, "Content-Type", "application/x-protobuf"); err == nil {
		t.Errorf("told to hang: answered %d", status)
	}
	loki.Answer(Answer{})
	loki.Gone()
	if status, err := send(); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("told to go: %d, %v", status, err)
	}
	loki.Back()
	if status, err := send(); status != 204 || err != nil {
		t.Errorf("back again: %d, %v", status, err)
	}
	tally := loki.Tally(map[string]string{"container": "a"})
	if tally.Total != 6 || tally.Stored != 2 || tally.Texts["x"] != 4 || tally.Late != 2 {
		t.Errorf("counted %+v", tally)
	}
	missing, repeated, unknown, examples := tally.Compare(map[string]int{"x": 1, "z": 2})
	if missing != 2 || repeated != 3 || unknown != 2 || len(examples) != 3 {
		t.Errorf("missing %d, repeated %d, unknown %d: %v", missing, repeated, unknown, examples)
	}
	if status, _ := post(t, loki.URL(), []byte("no snappy"), "Content-Type", "application/x-protobuf"); status != 400 || len(loki.Faults()) != 1 {
		t.Errorf("rubbish got %d; faults: %v", status, loki.Faults())
	}
}

func TestLabelsAreReadAsLokiReadsThem(t *testing.T) {
	got, err := parseLabels(`{a="1", b="x, \"y\"}="}`)
	if err != nil || len(got) != 2 || got["b"] != `x, "y"}=` {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "{}", `{a="1"`, `{a=1}`, `{a="1" b="2"}`, `{1a="1"}`, `{a="1", a="2"}`, `{a-b="1"}`} {
		if got, err := parseLabels(bad); err == nil {
			t.Errorf("%s gave %v", bad, got)
		}
	}
}

func TestRemoteWriteKeepsSamplesAndFindsDisorder(t *testing.T) {
	w := NewRemoteWrite(t)
	write := prompb.WriteRequest{
		Timeseries: []prompb.TimeSeries{{
			Labels:  []prompb.Label{{Name: "__name__", Value: "up"}, {Name: "job", Value: "node"}},
			Samples: []prompb.Sample{{Timestamp: 1000, Value: 1}, {Timestamp: 900, Value: 0}},
		}},
		Metadata: []prompb.MetricMetadata{{MetricFamilyName: "up", Type: prompb.MetricMetadata_GAUGE}},
	}
	raw, err := write.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	status, err := post(t, w.URL(), snappy.Encode(nil, raw), "Content-Type", "application/x-protobuf", "Content-Encoding", "snappy",
		"X-Prometheus-Remote-Write-Version", "0.1.0")
	if status != 204 || err != nil {
		t.Fatalf("%d, %v: %v", status, err, w.Faults())
	}
	series := w.Series(map[string]string{"job": "node"})
	if len(series) != 1 || len(series[0].Samples) != 2 || series[0].Late != 1 || w.Metadata("up") != "GAUGE" || w.Samples() != 2 {
		t.Errorf("%+v, metadata %q", series, w.Metadata("up"))
	}
}

func TestAContainerWritesExactlyTheLinesThatAreWanted(t *testing.T) {
	RequireDocker(t)
	const n = 6000
	c := Writer{Driver: "json-file", Lines: n, Stderr: true}.Start(t)
	c.Wait(5 * time.Minute)
	// Each stream into a buffer of its own: the engine hands on a line of more than 16 KiB in parts, and one of the other stream may come between.
	var out, errOut bytes.Buffer
	logs := exec.CommandContext(t.Context(), "docker", "logs", c.Name)
	logs.Stdout, logs.Stderr = &out, &errOut
	if err := logs.Run(); err != nil {
		t.Fatal(err)
	}
	tally := Tally{Texts: map[string]int{}}
	for _, stream := range []*bytes.Buffer{&out, &errOut} {
		for line := range strings.Lines(stream.String()) {
			tally.Texts[strings.TrimSuffix(line, "\n")]++
		}
	}
	if missing, repeated, unknown, examples := tally.Compare(lines.Want(c.Source, n)); missing+repeated+unknown != 0 {
		t.Errorf("missing %d, repeated %d, unknown %d: %v", missing, repeated, unknown, examples)
	}
}

func TestPrometheusScrapesAndPromtoolChecks(t *testing.T) {
	page := "# HELP a_total As.\n# TYPE a_total counter\na_total 3\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		io.WriteString(w, page)
	}))
	defer server.Close()
	p := NewPrometheus(t, "  - job_name: a\n    static_configs: [{targets: ['"+strings.TrimPrefix(server.URL, "http://")+"']}]\n")
	Eventually(t, 2*time.Minute, "the sample is there", func() (bool, string) {
		got, err := p.Query("a_total")
		return err == nil && len(got) == 1 && got[0].Value == 3 && got[0].Labels["job"] == "a", "not yet"
	})
	if faults, err := CheckMetrics(t, page); err != nil {
		t.Errorf("a good page: %v: %s", err, faults)
	}
	if faults, err := CheckMetrics(t, page+page); err == nil {
		t.Errorf("a page with a family twice passed: %s", faults)
	}
}
