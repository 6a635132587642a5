package prometheus

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// dialect is how a page is written: a set of bits.
type dialect uint8

const (
	openMetrics dialect = 1 << iota
	// quotedNames says that the scraper takes names of any characters, in quotes; for others they are written with underscores.
	quotedNames

	dialects = 1 << iota // how many sets there are
)

// createdName is that of the line with the time at which a series began, which OpenMetrics has; "" where there is none.
func createdName(s *metrics.Series) (stem string) {
	name := s.Name()
	switch {
	case s.Desc.Kind == metrics.Counter && name == s.Desc.Name:
		if stem, ok := strings.CutSuffix(name, "_total"); ok {
			return stem
		}
	case (s.Desc.Kind == metrics.Histogram || s.Desc.Kind == metrics.Summary) && len(name) == len(s.Desc.Name)+len("_count") &&
		strings.HasPrefix(name, s.Desc.Name) && strings.HasSuffix(name, "_count"):
		return s.Desc.Name
	}
	return ""
}

// boundOf is the label of the parts of a family, which stands last and is a float in OpenMetrics; "" is none.
func boundOf(d *metrics.Desc) string {
	switch d.Kind {
	case metrics.Histogram, metrics.GaugeHistogram:
		return labels.BucketLabel
	case metrics.Summary:
		return model.QuantileLabel
	case metrics.Unknown, metrics.Counter, metrics.Gauge, metrics.Info, metrics.StateSet:
	}
	return ""
}

// appendPrefix writes `name{labels} ` of a line.
func (l *layout) appendPrefix(dst []byte, n *line, d dialect) []byte {
	s := l.series(n)
	return l.appendNamed(dst, n, s, s.Name(), "", d)
}

func (l *layout) series(n *line) *metrics.Series { return l.parts[n.part].part.front.series[n.sample] }

// appendNamed is appendPrefix under another name, which is in two parts.
func (l *layout) appendNamed(dst []byte, n *line, s *metrics.Series, name, suffix string, d dialect) []byte {
	t := l.texts[n.text]
	if n.how&simple == 0 {
		return appendAny(dst, s, name+suffix, t.instance, d)
	}
	dst = append(dst, name...)
	dst = append(dst, suffix...)
	own := s.Own()
	if own == "" && t.text == "" {
		return append(dst, ' ')
	}
	dst = append(dst, '{')
	start := len(dst)
	done, j := 0, 0 // of the common text, in bytes and in labels
	for len(own) > 0 {
		var name, value string
		name, value, own = own.Next()
		if strings.HasPrefix(name, "__") {
			continue
		}
		for j < len(t.names) && t.names[j] < name {
			j++
		}
		if j > 0 && done < t.ends[j-1] {
			dst = append(dst, t.text[done:t.ends[j-1]]...)
			done = t.ends[j-1]
		}
		dst = append(dst, name...)
		dst = append(dst, '=', '"')
		if n.how&escaped != 0 {
			dst = appendEscaped(dst, value, true)
		} else {
			dst = append(dst, value...)
		}
		dst = append(dst, '"', ',')
	}
	dst = append(dst, t.text[done:]...)
	if len(dst) == start { // hidden ones alone
		dst[start-1] = ' '
		return dst
	}
	dst[len(dst)-1] = '}'
	return append(dst, ' ')
}

// appendAny writes `name{labels} ` of any series. instance is written as a label of that name where the series has none; "" writes none.
// Labels that begin with __ are not for outputs.
func appendAny(dst []byte, s *metrics.Series, name, instance string, d dialect) []byte {
	bound := boundOf(s.Desc)
	separator := byte('{')
	quoted := d&quotedNames != 0 && !model.LegacyValidation.IsValidMetricName(name)
	if quoted {
		dst = append(dst, separator)
		separator = ','
	}
	dst = appendName(dst, name, d)
	add := func(name, value string) {
		dst = append(dst, separator)
		separator = ','
		if model.LegacyValidation.IsValidLabelName(name) {
			dst = append(dst, name...)
		} else {
			dst = appendOddName(dst, name, d)
		}
		dst = append(dst, '=', '"')
		if d&openMetrics != 0 && name == bound {
			dst = appendBound(dst, value)
		} else {
			dst = appendEscaped(dst, value, true)
		}
		dst = append(dst, '"')
	}
	last, bounded := "", false
	s.Range(func(l labels.Label) {
		switch l.Name {
		case model.InstanceLabel:
			instance = ""
		case bound:
			last, bounded = l.Value, bound != ""
		}
	})
	s.Range(func(l labels.Label) {
		if strings.HasPrefix(l.Name, "__") || l.Name == bound {
			return
		}
		if instance != "" && l.Name > model.InstanceLabel { // in its place: labels are sorted
			add(model.InstanceLabel, instance)
			instance = ""
		}
		add(l.Name, l.Value)
	})
	if instance != "" {
		add(model.InstanceLabel, instance)
	}
	if bounded {
		add(bound, last)
	}
	if separator == ',' {
		dst = append(dst, '}')
	}
	return append(dst, ' ')
}

// appendBound writes le and quantile as OpenMetrics wants them: as floats.
func appendBound(dst []byte, value string) []byte {
	v, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return appendEscaped(dst, value, true)
	}
	return appendFloat(dst, v)
}

func appendName(dst []byte, name string, d dialect) []byte {
	if model.LegacyValidation.IsValidMetricName(name) {
		return append(dst, name...)
	}
	return appendOddName(dst, name, d)
}

// appendOddName writes a name with characters that stand in quotes, for scrapers that can read them there.
func appendOddName(dst []byte, name string, d dialect) []byte {
	if d&quotedNames == 0 {
		name = model.EscapeName(name, model.UnderscoreEscaping)
		return append(dst, strings.ReplaceAll(name, ":", "_")...)
	}
	dst = append(dst, '"')
	dst = appendEscaped(dst, name, true)
	return append(dst, '"')
}

// needsEscape says whether there may be something in s that appendEscaped writes in another way.
func needsEscape(s string, quotes bool) bool {
	for i := range len(s) {
		if c := s[i]; c == '\\' || c == '\n' || c >= utf8.RuneSelf || c == '"' && quotes {
			return true
		}
	}
	return false
}

// appendEscaped writes a help text, or with quotes a label's value, with what can't stand there escaped.
func appendEscaped(dst []byte, s string, quotes bool) []byte {
	// One byte that isn't UTF-8 makes Prometheus refuse the whole page.
	s = strings.ToValidUTF8(s, "\uFFFD")
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\\':
			dst = append(dst, '\\', '\\')
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '"' && quotes:
			dst = append(dst, '\\', '"')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// plainDesc says that nothing of a description has to be escaped, in any dialect.
func plainDesc(d *metrics.Desc) bool {
	return model.LegacyValidation.IsValidMetricName(d.Name) && !needsEscape(d.Help, true) && !needsEscape(d.Unit, true)
}

// appendHeader writes the description above the samples of a family. In OpenMetrics a counter's family is called like the counter without
// _total, and info's without _info, but where another family has that name: it is written under its full name then, as what carries such a
// name without being described by it.
func (g *group) appendHeader(dst []byte, d dialect) []byte {
	name, kind, unit := g.desc.Name, g.desc.Kind.String(), ""
	if d&openMetrics == 0 {
		kind = textKind(g.desc.Kind)
	} else {
		switch g.desc.Kind {
		case metrics.Counter, metrics.Info:
			stem, ok := openMetricsStem(g.desc)
			switch {
			case ok && !g.collides:
				name = stem
			case g.desc.Kind == metrics.Counter:
				kind = metrics.Unknown.String()
			default:
				kind = metrics.Gauge.String()
			}
		case metrics.Unknown, metrics.Gauge, metrics.Histogram, metrics.GaugeHistogram, metrics.Summary, metrics.StateSet:
		}
		if u := g.desc.Unit; u != "" && len(name) > len(u) && strings.HasSuffix(name, u) && name[len(name)-len(u)-1] == '_' {
			unit = u
		}
	}
	named := func(dst []byte) []byte {
		if g.plain {
			return append(dst, name...)
		}
		return appendName(dst, name, d)
	}
	dst = append(dst, "# HELP "...)
	dst = named(dst)
	dst = append(dst, ' ')
	if g.plain {
		dst = append(dst, g.desc.Help...)
	} else {
		dst = appendEscaped(dst, g.desc.Help, d&openMetrics != 0)
	}
	dst = append(dst, "\n# TYPE "...)
	dst = named(dst)
	dst = append(dst, ' ')
	dst = append(dst, kind...)
	if unit != "" {
		dst = append(dst, "\n# UNIT "...)
		dst = named(dst)
		dst = append(dst, ' ')
		dst = appendEscaped(dst, unit, true)
	}
	return append(dst, '\n')
}

// textKind is the type in the text format.
func textKind(k metrics.Kind) string {
	switch k {
	case metrics.Counter:
		return "counter"
	case metrics.Gauge, metrics.Info, metrics.StateSet:
		return "gauge"
	case metrics.Histogram, metrics.GaugeHistogram:
		return "histogram"
	case metrics.Summary:
		return "summary"
	case metrics.Unknown:
	}
	return "untyped"
}

// openMetricsStem is the name of the family in OpenMetrics where it differs from the name of its samples.
func openMetricsStem(desc *metrics.Desc) (string, bool) {
	suffix := ""
	switch desc.Kind {
	case metrics.Counter:
		suffix = "_total"
	case metrics.Info:
		suffix = "_info"
	case metrics.Unknown, metrics.Gauge, metrics.Histogram, metrics.GaugeHistogram, metrics.Summary, metrics.StateSet:
		return "", false
	}
	stem, ok := strings.CutSuffix(desc.Name, suffix)
	return stem, ok && stem != ""
}
