package loki

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/delivery"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// A 400 of Loki is about some of the records; it has stored the others. What it says about how many depends on where they were refused:
//
//   - the ingester ends its words with "total ignored: 3 out of 10 for stream: {...}". It speaks of one stream, the last that had refused
//     records, so where several streams of a body have some, this is less than the truth;
//   - the distributor checks every record and says "2 errors like: A; 5 errors like: B", or only "A" for a single one. For some faults an
//     error is one record, for others it is a stream, whose records we count in the body;
//   - where no number can be had, the whole body counts as refused, which is more than the truth;
//   - of what an ingester refuses of a stream that isn't the last of the request it says nothing at all, and answers 204 when the last one is
//     stored. Only its loki_discarded_samples_total knows. So the loudest stream of a body comes last: it is the one that meets a limit of its own.
//
// The words are those of pkg/validation/validate.go, pkg/distributor and pkg/ingester/stream.go.

// scope is what one error of Loki is about.
type scope uint8

const (
	wholeBody scope = iota
	oneEntry
	oneStream
)

// reason is a kind of refusal, under the name that Loki's own metric loki_discarded_samples_total has for it.
type reason struct {
	words string // that mark it, in lower case
	name  string
	about scope
}

func reasons() []reason {
	return []reason{
		{"entry too far behind", "too_far_behind", oneEntry},
		{"entry out of order", "out_of_order", oneEntry},
		{"max entry size", "line_too_long", oneEntry},
		{"timestamp too old", "greater_than_max_sample_age", oneEntry},
		{"timestamp too new", "too_far_in_future", oneEntry},
		{"structured metadata too large", "structured_metadata_too_large", oneEntry},
		{"too many structured metadata", "structured_metadata_too_many", oneEntry},
		{"includes structured metadata, but", "disallowed_structured_metadata", oneEntry},
		{"label names; limit", "max_label_names_per_series", oneStream},
		{"label name too long", "label_name_too_long", oneStream},
		{"label value too long", "label_value_too_long", oneStream},
		{"duplicate label name", "duplicate_label_names", oneStream},
		{"missing required labels", "missing_enforced_labels", oneStream},
		{"error parsing labels", "invalid_labels", oneStream},
		{"at least one label pair", "missing_labels", wholeBody},
		{"per stream rate limit", "per_stream_rate_limit", wholeBody},
		{"maximum active stream limit", "stream_limit", wholeBody},
		{"ingestion rate limit", "rate_limited", wholeBody},
		{"ingestion blocked", "blocked_ingestion", wholeBody},
		{"at least one valid stream", "no_streams", wholeBody},
	}
}

// reasonOf finds what words are about.
func reasonOf(words string) reason {
	words = strings.ToLower(words)
	first, at := reason{name: "other"}, len(words)
	for _, r := range reasons() {
		if i := strings.Index(words, r.words); i >= 0 && i < at {
			first, at = r, i
		}
	}
	return first
}

// Refusal implements delivery.Backend.
func (o *output) Refusal(b *queue.Block, a delivery.Answer) delivery.Refusal {
	return delivery.Refusal{Counts: countRefused(b, a.Status, string(a.Body), a.Truncated)}
}

// countRefused says how many records of the body were refused, by reason.
func countRefused(b *queue.Block, status int, words string, truncated bool) []delivery.Count {
	all := func(r reason) []delivery.Count { return []delivery.Count{{Reason: r.name, Items: b.Items}} }
	if status != http.StatusBadRequest || truncated {
		return all(reasonOf(words))
	}
	if n, of, ok := ignored(words); ok && n <= of && of <= b.Items {
		return []delivery.Count{{Reason: reasonOf(words).name, Items: n}}
	}
	var counts []delivery.Count
	for _, e := range parseErrors(words) {
		r := reasonOf(e.words)
		switch r.about {
		case oneEntry:
			counts = append(counts, delivery.Count{Reason: r.name, Items: e.times})
		case oneStream:
			n := entriesOf(b, e.words)
			if n == 0 {
				return all(r)
			}
			counts = append(counts, delivery.Count{Reason: r.name, Items: n})
		default:
			return all(r)
		}
	}
	return counts
}

// ignored reads "total ignored: N out of M".
func ignored(words string) (n, of int, ok bool) {
	_, rest, ok := strings.Cut(words, "total ignored: ")
	if !ok {
		return 0, 0, false
	}
	first, rest, ok := strings.Cut(rest, " out of ")
	if !ok {
		return 0, 0, false
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(first)
	of, err2 := strconv.Atoi(rest[:end])
	return n, of, err == nil && err2 == nil
}

// grouped is an error that was seen a number of times.
type grouped struct {
	times int
	words string
}

// parseErrors reads "2 errors like: A; 5 errors like: B; 7 total errors".
func parseErrors(words string) []grouped {
	const like = " errors like: "
	var out []grouped
	rest := words
	for {
		at := strings.Index(rest, like)
		if at < 0 {
			break
		}
		digits := at
		for digits > 0 && rest[digits-1] >= '0' && rest[digits-1] <= '9' {
			digits--
		}
		n, err := strconv.Atoi(rest[digits:at])
		if len(out) > 0 {
			out[len(out)-1].words = rest[:digits]
		}
		rest = rest[at+len(like):]
		if err == nil {
			out = append(out, grouped{times: n, words: rest})
		}
	}
	if len(out) == 0 {
		return []grouped{{times: 1, words: words}}
	}
	return out
}

// entriesOf counts the entries of the streams of a body that words name.
func entriesOf(b *queue.Block, words string) int {
	raw, err := inflate(b)
	if err != nil {
		return 0
	}
	n := 0
	bare := withoutServiceName(words)
	err = walk(raw, func(labels string) func([]byte) {
		if !strings.Contains(words, labels) && !strings.Contains(bare, labels) {
			return func([]byte) {}
		}
		return func([]byte) { n++ }
	})
	if err != nil {
		return 0
	}
	return n
}

// withoutServiceName takes the label away that Loki adds to a stream by itself.
func withoutServiceName(words string) string {
	const name = `service_name="`
	at := strings.Index(words, name)
	if at < 0 {
		return words
	}
	end := strings.IndexByte(words[at+len(name):], '"')
	if end < 0 {
		return words
	}
	before, after := words[:at], words[at+len(name)+end+1:]
	if cut, ok := strings.CutSuffix(before, ", "); ok {
		return cut + after
	}
	return before + strings.TrimPrefix(after, ", ")
}

// largerThanRate reads from the words of a 429 whether a body of so many bytes before compression is more than the rate of the tenant or of
// a stream allows in a second. Such a body may be larger than the burst, and then waiting is in vain: of a stream Loki takes each time what
// fits, the same first records, and refuses the rest.
func largerThanRate(words string, raw int) bool {
	_, rest, ok := strings.Cut(words, "(limit: ")
	if !ok {
		return false
	}
	limit, unit, ok := leadingNumber(rest)
	if !ok {
		return false
	}
	if strings.HasPrefix(unit, " bytes/sec)") {
		_, rest, _ := strings.Cut(words, "totaling '")
		total, _, ok := leadingNumber(rest)
		return ok && total > limit
	}
	// "512KB/sec": whole units, each 1024 of the one before.
	shift := strings.IndexByte("BKMGTPE", unit[0])
	if shift < 0 || !strings.HasPrefix(strings.TrimPrefix(unit[1:], "B"), "/sec)") || limit > 1<<32 {
		return false
	}
	for range min(shift, 3) {
		limit *= 1024
	}
	return shift <= 3 && int64(raw) > limit
}

// leadingNumber reads the digits that text begins with; rest is not empty.
func leadingNumber(text string) (n int64, rest string, ok bool) {
	end := 0
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(text[:end], 10, 64)
	return n, text[end:], err == nil && end < len(text)
}

// remedy says what to do about an answer, where more is known than the status tells.
func remedy(a delivery.Answer) string {
	switch {
	case a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed:
		return "check the path of the URL: Loki takes pushes at " + pushPath
	case a.Status == http.StatusUnauthorized && strings.Contains(a.Words, "no org id"):
		return `this Loki has several tenants: set tenant`
	case a.Status == http.StatusTooManyRequests:
		return advice(reasonOf(a.Words).name)
	}
	return ""
}

// Advice implements delivery.Adviser.
func (o *output) Advice(reason string) string { return advice(reason) }

// advice says what to do about a reason. The limits that it names are those of limits_config in Loki.
func advice(reason string) string {
	switch reason {
	case "too_far_behind", "out_of_order":
		return "give each source of lines a stream of its own by its labels: a stream takes no line that is much older than its newest " +
			"(half of max_chunk_age in Loki)"
	case "line_too_long":
		return "set max_line_size in the input to what this Loki takes, or raise its max_line_size"
	case "greater_than_max_sample_age":
		return "set start in the input so that old lines are left out, or raise reject_old_samples_max_age in Loki"
	case "too_far_in_future":
		return "set this machine's clock, or raise creation_grace_period in Loki"
	case "structured_metadata_too_large", "structured_metadata_too_many":
		return "send less structured metadata, or raise max_structured_metadata_size and max_structured_metadata_entries_count in Loki"
	case "disallowed_structured_metadata":
		return "set allow_structured_metadata in Loki, or send none"
	case "max_label_names_per_series":
		return "take labels away with a relabel processor, or raise max_label_names_per_series in Loki"
	case "label_name_too_long", "label_value_too_long", "duplicate_label_names", "invalid_labels":
		return "change the label with a relabel processor"
	case "missing_enforced_labels", "missing_labels":
		return "add the label that Loki wants: labels in the input's block or in the agent's"
	case "blocked_ingestion":
		return "ask who runs this Loki: it takes no logs of this tenant"
	case "stream_limit":
		return "label values that are different for every request or process make a stream each: take such labels away, " +
			"or raise max_global_streams_per_user in Loki"
	case "rate_limited":
		return "send less, or raise ingestion_rate_mb and ingestion_burst_size_mb in Loki; until then it gets what it takes"
	case "per_stream_rate_limit":
		return "raise per_stream_rate_limit in Loki, or spread the stream over more label values; until then it gets what it takes. " +
			"Where shard_streams is on, Loki answers 204 to some of what it drops for this limit (its loki_discarded_samples_total counts it): switch that off"
	case "too_large":
		return "set max_line_size in the input: a single line is more than the server or a proxy before it takes"
	}
	return ""
}
