package delivery

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are what an output knows of its requests; what became of the records is in Traffic, which the engine shows.
type counters struct {
	requests *prometheus.CounterVec
	retries  prometheus.Counter
	duration prometheus.Histogram
}

func newCounters(reg prometheus.Registerer) *counters {
	c := &counters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hermod_output_requests_total",
			Help: "Requests to the backend by the HTTP status of the answer; \"none\" without an answer.",
		}, []string{"code"}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hermod_output_retries_total",
			Help: "Requests whose body has to be sent again.",
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "hermod_output_request_duration_seconds",
			Help:    "How long the backend took to answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
	}
	if reg != nil {
		for _, x := range []prometheus.Collector{c.requests, c.retries, c.duration} {
			_ = reg.Register(x) // a fault costs the counter, not the delivery
		}
	}
	return c
}

func (c *counters) request(status int, took time.Duration) {
	code := "none"
	if status != 0 {
		code = strconv.Itoa(status)
	}
	c.requests.WithLabelValues(code).Inc()
	c.duration.Observe(took.Seconds())
}
