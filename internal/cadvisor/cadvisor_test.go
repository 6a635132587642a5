package cadvisor

import (
	"slices"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

func TestFamiliesAreThoseOfCAdvisor(t *testing.T) {
	f := New()
	if len(f) != len(families()) {
		t.Errorf("%d names for %d families: one is there twice", len(f), len(families()))
	}
	for name, want := range map[string]metrics.Desc{
		"container_cpu_usage_seconds_total": {Help: "Cumulative cpu time consumed in seconds.", Unit: "seconds", Kind: metrics.Counter},
		"container_memory_rss":              {Help: "Size of RSS in bytes.", Kind: metrics.Gauge},
		"container_memory_failcnt":          {Help: "Number of memory usage hits limits", Kind: metrics.Counter},
		"container_fs_usage_bytes":          {Help: "Number of bytes that are consumed by the container on this filesystem.", Unit: "bytes", Kind: metrics.Gauge},
		"container_spec_cpu_shares":         {Help: "CPU share of the container.", Kind: metrics.Gauge},
		"machine_memory_bytes":              {Help: "Amount of memory installed on the machine.", Unit: "bytes", Kind: metrics.Gauge},
	} {
		want.Name = name
		if got := *f.Desc(name); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	for name, d := range f {
		if d.Name != name || d.Help == "" || d.Kind != metrics.Counter && d.Kind != metrics.Gauge {
			t.Errorf("%s is described as %+v", name, *d)
		}
	}
}

func TestTwoInputsShareNoDescription(t *testing.T) {
	first, second := New(), New()
	if first.Desc("container_last_seen") == second.Desc("container_last_seen") {
		t.Error("a description is shared")
	}
}

func TestANameThatCAdvisorHasNotIsAFault(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	New().Desc("container_memory_rss_bytes")
}

func TestLabelsOfContainersBecomeLabelsOfSeries(t *testing.T) {
	all := map[string]string{"com.example.team": "shop", "com.example-team": "second", "com.example.empty": "", "grün": "x", "plain": "y"}
	for _, c := range []struct {
		picked, want []string
	}{
		{nil, []string{"container_label_com_example_team", "second", "container_label_gr_n", "x", "container_label_plain", "y"}},
		{[]string{"com.example.team", "plain", "com.example.empty", "absent"}, []string{"container_label_com_example_team", "shop", "container_label_plain", "y"}},
		{[]string{}, nil},
	} {
		if got := Labels(all, c.picked); !slices.Equal(got, c.want) {
			t.Errorf("picked %q: %q, want %q", c.picked, got, c.want)
		}
	}
}
