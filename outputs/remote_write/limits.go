package remotewrite

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/delivery"
)

// limited looks into a 429 for Mimir's words about a body that has more items than the tenant's burst: waiting, for which Mimir asks all the
// same, is then in vain, and smaller bodies are taken at once.
//
//	... exceeded the ingestion burst size limit, set to 1500, with 2000 items. ...
//	... exceeded the ingestion rate limit, set to 4000 items/s with a maximum allowed burst of 1500. ... (before it told the two apart)
func limited(a *delivery.Answer, items int) {
	if a.Status != http.StatusTooManyRequests {
		return
	}
	words := string(a.Body)
	if strings.Contains(words, "ingestion burst size limit, set to ") {
		a.TooLarge = true
	} else if _, rest, ok := strings.Cut(words, "with a maximum allowed burst of "); ok {
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(rest)
		}
		burst, err := strconv.Atoi(rest[:end])
		a.TooLarge = err == nil && items > burst
	}
	if a.TooLarge {
		a.RetryAfter = 0
	}
}
