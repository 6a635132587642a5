package redis

import (
	"bytes"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// clients shows the server's connections (CLIENT LIST).
type clients struct {
	in      *input
	about   map[[2]bool]*family // by whether the server tells the user, and the protocol
	numbers []clientNumber
}

// clientNumber is a field of a client that is a number.
type clientNumber struct {
	field  string
	since  bool // the field is seconds ago, the metric the time
	always bool // shown as 0 where the server doesn't tell it
	family *family
}

func newClients(in *input) *clients {
	c := &clients{in: in, about: map[[2]bool]*family{}}
	info := plain("connected_client_info", metrics.Gauge)
	for _, with := range [...][2]bool{{false, false}, {true, false}, {false, true}, {true, true}} {
		labels := []string{"id", "name", "flags", "db", "host"}
		if in.cfg.ExportClientPort {
			labels = append(labels, "port")
		}
		if with[0] {
			labels = append(labels, "user")
		}
		if with[1] {
			labels = append(labels, "resp")
		}
		c.about[with] = in.family(info, labels...)
	}
	number := func(field, name string, since, always bool) {
		f := in.family(plain("connected_client_"+name, metrics.Gauge), "id", "name")
		c.numbers = append(c.numbers, clientNumber{field, since, always, f})
	}
	number("omem", "output_buffer_memory_usage_bytes", false, true)
	number("tot-mem", "total_memory_consumed_bytes", false, true)
	number("age", "created_at_timestamp", true, true)
	number("idle", "idle_since_timestamp", true, true)
	number("sub", "channel_subscriptions_count", false, true)
	number("psub", "pattern_matching_subscriptions_count", false, true)
	number("qbuf", "query_buffer_length_bytes", false, true)
	number("qbuf-free", "query_buffer_free_space_bytes", false, true)
	number("obl", "output_buffer_length_bytes", false, true)
	number("oll", "output_list_length", false, true)
	number("ssub", "shard_channel_subscriptions_count", false, false) // since Redis 7.0.3
	number("watch", "shard_channel_watched_keys", false, false)       // since Redis 7.4
	return c
}

// collect shows lines of "id=11 addr=127.0.0.1:63508 fd=8 name= age=6321 ...".
func (c *clients) collect(v value, b *metrics.Batch) {
	text := v.text()
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		c.client(line, b)
	}
}

func (c *clients) client(line []byte, b *metrics.Batch) {
	var id, name, flags, db, user, resp, addr []byte
	numbers := make([]float64, len(c.numbers))
	has := make([]bool, len(c.numbers))
	for len(line) > 0 {
		var part []byte
		part, line, _ = bytes.Cut(line, []byte(" "))
		field, value, ok := bytes.Cut(part, []byte("="))
		if !ok {
			return
		}
		switch string(field) {
		case "id":
			id = value
		case "name":
			name = value
		case "flags":
			flags = value
		case "db":
			db = value
		case "user":
			user = value
		case "resp":
			resp = value
		case "addr":
			addr = value
		default:
			for i := range c.numbers {
				if c.numbers[i].field == string(field) {
					n, ok := parseInt(value)
					if c.numbers[i].since {
						if !ok {
							return
						}
						n = b.Time/1000 - n
					}
					numbers[i], has[i] = float64(n), true
				}
			}
		}
	}
	colon := bytes.LastIndexByte(addr, ':')
	if len(id) == 0 || colon < 0 {
		return
	}
	values := [][]byte{id, name, flags, db, addr[:colon]}
	if c.in.cfg.ExportClientPort {
		values = append(values, addr[colon+1:])
	}
	if len(user) > 0 {
		values = append(values, user)
	}
	if len(resp) > 0 {
		values = append(values, resp)
	}
	c.about[[2]bool{len(user) > 0, len(resp) > 0}].set(b, 1, values...)
	for i, n := range c.numbers {
		if has[i] || n.always {
			n.family.set(b, numbers[i], id, name)
		}
	}
}
