package remotewrite

import (
	"testing"
	"time"

	"github.com/hermod-agent/hermod/pipeline/delivery"
)

func TestABodyLargerThanMimirsBurstIsNotWaitedWith(t *testing.T) {
	const (
		rate  = "the request has been rejected because the tenant exceeded the ingestion rate limit, set to 4000 items/s with a maximum allowed burst of 1500. This limit"
		burst = "the request has been rejected because the tenant exceeded the ingestion burst size limit, set to 1500, with 2000 items. This limit"
	)
	for _, c := range []struct {
		status int
		words  string
		items  int
		want   bool
	}{
		{429, burst, 2000, true}, {429, rate, 1501, true}, {429, rate, 1500, false}, {429, "too many requests", 2000, false},
		{429, "with a maximum allowed burst of ", 1, false}, {429, "with a maximum allowed burst of 5", 6, true}, {503, burst, 2000, false},
	} {
		a := delivery.Answer{Status: c.status, Body: []byte(c.words), RetryAfter: 6 * time.Second}
		limited(&a, c.items)
		if a.TooLarge != c.want || (a.RetryAfter == 0) != c.want {
			t.Errorf("%d %q of %d items: too large is %v, wait %v", c.status, c.words, c.items, a.TooLarge, a.RetryAfter)
		}
	}
}
