package cadvisor

import (
	"maps"
	"slices"
)

// LabelPrefix begins the label that a container's own label becomes.
const LabelPrefix = "container_label_"

// LabelName is the label that a container's label of that name becomes: what isn't a letter, a digit or an underscore becomes an underscore,
// a character of several bytes becomes one.
func LabelName(name string) string {
	out := make([]byte, 0, len(LabelPrefix)+len(name))
	out = append(out, LabelPrefix...)
	for _, r := range name {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			out = append(out, byte(r))
		} else {
			out = append(out, '_')
		}
	}
	return string(out)
}

// Labels makes pairs of name and value of a container's labels, in the order of their names: of all of them, or of those in picked where that
// isn't nil. Of several that become one name the first counts. Unlike cAdvisor it leaves empty ones out: for Prometheus an empty label is
// none.
func Labels(all map[string]string, picked []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, label := range slices.Sorted(maps.Keys(all)) {
		if picked != nil && !slices.Contains(picked, label) {
			continue
		}
		name := LabelName(label)
		if seen[name] {
			continue
		}
		seen[name] = true
		if value := all[label]; value != "" {
			out = append(out, name, value)
		}
	}
	return out
}
