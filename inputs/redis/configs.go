package redis

import (
	"bytes"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// configs shows settings of the server (CONFIG GET).
type configs struct {
	in        *input
	databases int // how many the server has

	numbers                map[string]*metrics.Series
	bufferLimit, overcome  *family
	settingText, settingNo *family
}

// usualDatabases is how many databases a server has unless it is told otherwise.
const usualDatabases = 16

func newConfigs(in *input) *configs {
	c := &configs{in: in, databases: usualDatabases, numbers: map[string]*metrics.Series{}}
	for setting, desc := range map[string]*metrics.Desc{
		"io-threads":        plain("config_io_threads", metrics.Gauge),
		"maxclients":        plain("config_maxclients", metrics.Gauge),
		"maxmemory":         plain("config_maxmemory", metrics.Gauge),
		"repl-backlog-size": plain("config_repl_backlog_size", metrics.Gauge),

		"commandlog-execution-slower-than": gauge("commandlog_execution_slower_than", "Execution time threshold in microseconds for the slow command log"),
		"commandlog-slow-execution-max-len": gauge("commandlog_slow_execution_max_len",
			"Maximum number of entries retained in the slow command log"),
		"commandlog-request-larger-than": gauge("commandlog_request_larger_than", "Request size threshold in bytes for the large-request command log"),
		"commandlog-large-request-max-len": gauge("commandlog_large_request_max_len",
			"Maximum number of entries retained in the large-request command log"),
		"commandlog-reply-larger-than":   gauge("commandlog_reply_larger_than", "Reply size threshold in bytes for the large-reply command log"),
		"commandlog-large-reply-max-len": gauge("commandlog_large_reply_max_len", "Maximum number of entries retained in the large-reply command log"),
	} {
		c.numbers[setting] = in.env.Series.New(desc)
	}
	c.bufferLimit = in.family(gauge("config_client_output_buffer_limit_bytes", "The configured buffer limits per class"), "class", "limit")
	c.overcome = in.family(gauge("config_client_output_buffer_limit_overcome_seconds",
		"How long for buffer limits per class to be exceeded before replicas are dropped"), "class", "limit")
	c.settingText = in.family(gauge("config_key_value", "Config key and value"), "key", "value")
	c.settingNo = in.family(gauge("config_value", "Config key and value as metric"), "key")
	return c
}

func (c *configs) begin() { c.databases = usualDatabases }

// isPassword says whether a setting is to stay where it is.
func isPassword(setting []byte) bool {
	switch string(setting) {
	case "masterauth", "primaryauth", "requirepass", "tls-key-file-pass", "tls-client-key-file-pass", "sentinel-pass":
		return true
	}
	return false
}

// collect shows names and values in turn.
func (c *configs) collect(v value, b *metrics.Batch) {
	for name, is := range v.pairs {
		setting, text := name.text(), is.text()
		if c.in.cfg.IncludeConfigMetrics && !isPassword(setting) {
			c.settingText.set(b, 1, setting, text)
			if n, ok := parseFloat(text); ok {
				c.settingNo.set(b, n, setting)
			}
		}
		switch string(setting) {
		case "databases":
			if n, ok := parseInt(text); ok && n > 0 {
				c.databases = int(min(n, maxDatabases))
			}
		case "client-output-buffer-limit":
			c.limits(text, b)
		default:
			if s := c.numbers[string(setting)]; s != nil {
				if n, ok := parseFloat(text); ok {
					b.Set(s, n)
				}
			}
		}
	}
}

// limits shows "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60": hard limit, soft limit and seconds of each class.
func (c *configs) limits(text []byte, b *metrics.Batch) {
	for len(text) > 0 {
		var words [4][]byte
		for i := range words {
			words[i], text, _ = bytes.Cut(text, []byte(" "))
		}
		if words[3] == nil {
			return
		}
		if v, ok := parseFloat(words[1]); ok {
			c.bufferLimit.set(b, v, words[0], hard)
		}
		if v, ok := parseFloat(words[2]); ok {
			c.bufferLimit.set(b, v, words[0], soft)
		}
		if v, ok := parseFloat(words[3]); ok {
			c.overcome.set(b, v, words[0], soft)
		}
	}
}

// The kinds of limits.
var hard, soft = []byte("hard"), []byte("soft")
