package remotewrite

import (
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// plainNames gives labels whose names 1.0 allows: letters, digits and underscores, in a metric's name colons too. What isn't one becomes an underscore,
// as on a scrape page that can't show it either; two names that would become one are kept apart by further ones. 2.0 takes all names.
func plainNames(l labels.Labels) labels.Labels {
	plain := true
	l.Range(func(l labels.Label) { plain = plain && isPlain(l.Name, l.Value) })
	if plain {
		return l
	}
	b := labels.NewScratchBuilder(l.Len())
	used := map[string]bool{}
	for _, valid := range []bool{true, false} { // what may stay as it is does
		l.Range(func(l labels.Label) {
			if model.LegacyValidation.IsValidLabelName(l.Name) != valid {
				return
			}
			if l.Name == labels.MetricName {
				l.Value = plainName(l.Value, true)
			}
			for l.Name = plainName(l.Name, false); used[l.Name]; l.Name += "_" {
			}
			used[l.Name] = true
			b.Add(l.Name, l.Value)
		})
	}
	b.Sort()
	return b.Labels()
}

// isPlain says whether a label has a name that 1.0 allows, and where it is the metric's name, such a value.
func isPlain(name, value string) bool {
	return model.LegacyValidation.IsValidLabelName(name) && (name != labels.MetricName || model.LegacyValidation.IsValidMetricName(value))
}

func plainName(name string, colons bool) string {
	out := make([]byte, 0, len(name))
	for i, c := range name {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' && i > 0 || c == ':' && colons {
			out = append(out, byte(c))
		} else {
			out = append(out, '_')
		}
	}
	return string(out)
}
