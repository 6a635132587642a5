package remotewrite

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/delivery"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// Versions of remote write, in the config.
const (
	version1 = "1.0"
	version2 = "2.0"
)

// second says that what is encoded now is encoded for 2.0.
func (o *output) second() bool { return o.symbols != nil && !o.firstAlone.Load() }

// written counts what a server of 2.0 says it has stored. ok is false when it says nothing.
func written(header http.Header) (items int, ok bool) {
	for _, kind := range []string{"Samples", "Histograms", "Exemplars"} {
		value := header.Get("X-Prometheus-Remote-Write-" + kind + "-Written")
		if value == "" {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return 0, false
		}
		items, ok = items+n, true
	}
	return items, ok
}

// learnVersion notes from an answer whether the server takes 2.0. One of 1.0 answers with 415, or with 400 because it can't make sense of the
// body, or takes it for an empty one of 1.0 and says that all is well, without a count of what it stored.
func (o *output) learnVersion(sent *queue.Block, a *delivery.Answer, header http.Header) {
	if sent.Protocol != protocol2 || a.Misconfigured {
		return
	}
	stored, counted := written(header)
	switch success := a.Status >= 200 && a.Status < 300; {
	case counted && (success || a.Status >= 400 && a.Status < 500 && a.Status != http.StatusUnsupportedMediaType):
		o.secondTaken.Store(true)
		a.Stored, a.Counted = min(stored, sent.Items), true
		return
	case success: // nothing of it was stored
		a.Unsupported = true
	case a.Status == http.StatusUnsupportedMediaType:
	case a.Status == http.StatusBadRequest && !o.secondTaken.Load() && !aboutSamples(strings.ToLower(string(a.Body))):
		a.Unsupported = true
	default:
		return
	}
	if !o.firstAlone.Swap(true) {
		o.env.Status.Note("protocol", component.WithRemedy(
			fmt.Errorf("%s doesn't take remote write %s (it answered %d): requests are of %s", o.cfg.URL, version2, a.Status, version1),
			`write protocol = "1.0", or nothing`))
	}
}
