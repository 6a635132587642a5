package redis

import "github.com/hermod-agent/hermod/pipeline/metrics"

// logs shows what the server wrote down: spikes of latency (LATENCY LATEST), slow commands (SLOWLOG), and Valkey's logs of large requests
// and replies (COMMANDLOG).
type logs struct {
	spikeLast, spikeDuration      *family
	slow, slowID, slowDuration    *metrics.Series
	slowLogged, requests, answers *metrics.Series
}

// commandLogs are the kinds of COMMANDLOG.
var commandLogs = [...]string{"slow", "large-request", "large-reply"}

func newLogs(in *input) *logs {
	r := in.env.Series
	return &logs{
		spikeLast:     in.family(gauge("latency_spike_last", "When the latency spike last occurred"), "event_name"),
		spikeDuration: in.family(gauge("latency_spike_duration_seconds", "Length of the last latency spike in seconds"), "event_name"),
		slow:          r.New(gauge("slowlog_length", "Total slowlog")),
		slowID:        r.New(gauge("slowlog_last_id", "Last id of slowlog")),
		slowDuration:  r.New(gauge("last_slow_execution_duration_seconds", "The amount of time needed for last slow execution, in seconds")),
		slowLogged:    r.New(gauge("commandlog_slow_length", "Total entries in the slow command log")),
		requests:      r.New(gauge("commandlog_large_request_length", "Total entries in the large-request command log")),
		answers:       r.New(gauge("commandlog_large_reply_length", "Total entries in the large-reply command log")),
	}
}

// latest shows [[event, time, milliseconds, most milliseconds], ...].
func (l *logs) latest(v value, b *metrics.Batch) {
	for i := range v.len() {
		event := v.at(i)
		name := event.at(0).text()
		last, ok := event.at(1).integer()
		length, also := event.at(2).integer()
		if ok && also {
			l.spikeLast.set(b, float64(last), name)
			l.spikeDuration.set(b, float64(length)/1e3, name)
		}
	}
}

func (l *logs) slowLength(v value, b *metrics.Batch) { setInteger(b, l.slow, v) }

// slowLast shows the newest slow command: [[id, time, microseconds, ...]], or nothing.
func (l *logs) slowLast(v value, b *metrics.Batch) {
	var id, usec int64
	if entry := v.at(0); entry.len() >= 3 {
		id, _ = entry.at(0).integer()
		usec, _ = entry.at(2).integer()
	}
	b.Set(l.slowID, float64(id))
	b.Set(l.slowDuration, float64(usec)/1e6)
}

// commandLog shows the length of the log of that kind.
func (l *logs) commandLog(kind int) func(value, *metrics.Batch) {
	s := [...]*metrics.Series{l.slowLogged, l.requests, l.answers}[kind]
	return func(v value, b *metrics.Batch) { setInteger(b, s, v) }
}

func setInteger(b *metrics.Batch, s *metrics.Series, v value) {
	if n, ok := v.integer(); ok {
		b.Set(s, float64(n))
	}
}
