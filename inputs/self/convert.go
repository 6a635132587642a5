package self

import (
	"math"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// bounds are the quantiles of a summary or the upper bounds of a histogram's buckets but the last, which has none.
func bounds(m *dto.Metric) []float64 {
	var out []float64
	for i := range countBounds(m) {
		out = append(out, boundAt(m, i))
	}
	return out
}

func sameBounds(known []float64, m *dto.Metric) bool {
	if len(known) != countBounds(m) {
		return false
	}
	for i, v := range known {
		if v != boundAt(m, i) {
			return false
		}
	}
	return true
}

func countBounds(m *dto.Metric) int {
	if h := m.GetHistogram(); h != nil {
		return finite(h)
	}
	return len(m.GetSummary().GetQuantile())
}

func boundAt(m *dto.Metric, i int) float64 {
	if h := m.GetHistogram(); h != nil {
		return h.GetBucket()[i].GetUpperBound()
	}
	return m.GetSummary().GetQuantile()[i].GetQuantile()
}

// finite is the number of buckets with a bound. client_golang leaves the last one out, others write it.
func finite(h *dto.Histogram) int {
	n := len(h.GetBucket())
	if n > 0 && math.IsInf(h.GetBucket()[n-1].GetUpperBound(), 1) {
		n--
	}
	return n
}

// formatBound writes a bound as client_golang does in the text format.
func formatBound(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func exemplarLabels(e *dto.Exemplar) labels.Labels {
	b := labels.NewScratchBuilder(len(e.GetLabel()))
	for _, l := range e.GetLabel() {
		b.Add(l.GetName(), l.GetValue())
	}
	b.Sort()
	return b.Labels()
}

// millis is a time in milliseconds since 1970, or 0 where there is none.
func millis(t *timestamppb.Timestamp) int64 {
	if t == nil {
		return 0
	}
	return t.AsTime().UnixMilli()
}
