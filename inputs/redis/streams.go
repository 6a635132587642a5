package redis

import (
	"bytes"
	"context"
	"slices"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// streams shows what streams hold, their groups and consumers (XINFO).
type streams struct {
	in               *input
	single, patterns []dbKey

	numbers       []streamNumber // of a stream
	first, last   *family
	groups        []streamNumber // of a group
	pending, idle *family        // of a consumer
}

// streamNumber is a field of XINFO.
type streamNumber struct {
	field  string
	id     bool // "1692632086370-0": the metric is the time in it
	family *family
}

func newStreams(in *input) *streams {
	stream := func(name, help string) *family { return in.family(gauge("stream_"+name, help), "db", "stream") }
	group := func(name, help string) *family {
		return in.family(gauge("stream_group_"+name, help), "db", "stream", "group")
	}
	consumer := func(name, help string) *family {
		return in.family(gauge("stream_group_consumer_"+name, help), "db", "stream", "group", "consumer")
	}
	return &streams{
		in: in, single: parseKeys(in.cfg.CheckSingleStreams), patterns: parseKeys(in.cfg.CheckStreams),
		numbers: []streamNumber{
			{"length", false, stream("length", "The number of elements of the stream")},
			{"radix-tree-keys", false, stream("radix_tree_keys", `Radix tree keys count"`)},
			{"radix-tree-nodes", false, stream("radix_tree_nodes", "Radix tree nodes count")},
			{"last-generated-id", true, stream("last_generated_id", "The epoch timestamp (ms) of the latest message on the stream")},
			{"groups", false, stream("groups", "Groups count of stream")},
			{"max-deleted-entry-id", true, stream("max_deleted_entry_id", "The epoch timestamp (ms) of last message was deleted from the stream")},
			{"entries-added", false, in.family(counter("stream_entries_added_total",
				"The count of all entries added to the stream during its lifetime"), "db", "stream")},
		},
		first: stream("first_entry_id", "The epoch timestamp (ms) of the first message in the stream"),
		last:  stream("last_entry_id", "The epoch timestamp (ms) of the last message in the stream"),
		groups: []streamNumber{
			{"consumers", false, group("consumers", "Consumers count of stream group")},
			{"pending", false, group("messages_pending", "Pending number of messages in that stream group")},
			{"last-delivered-id", true, group("last_delivered_id", "The epoch timestamp (ms) of the last delivered message")},
			{"entries-read", false, group("entries_read", "Total number of entries read from the stream group")},
			{"lag", false, group("lag", "The number of messages waiting to be delivered to the stream group's consumers")},
		},
		pending: consumer("messages_pending", "Pending number of messages for this specific consumer"),
		idle:    consumer("idle_seconds", "Consumer idle time in seconds"),
	}
}

func (s *streams) collect(ctx context.Context, b *metrics.Batch) error {
	if len(s.single)+len(s.patterns) == 0 {
		return nil
	}
	found, err := s.in.keys.find(ctx, s.single, s.patterns, "check_streams")
	if err != nil {
		return err
	}
	for db := range byDatabase(found) {
		for batch := range slices.Chunk(db.names, keyBatch) {
			if err := s.batch(ctx, db.number, batch, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *streams) batch(ctx context.Context, db int, names []string, b *metrics.Batch) error {
	label := dbLabel(db)
	request := []call{selecting(db)}
	for _, name := range names {
		request = append(request, words("XINFO", "STREAM", name), words("XINFO", "GROUPS", name))
	}
	replies, err := s.in.conn.exchange(ctx, request)
	if err != nil {
		return err
	}
	if v := replies[0]; v.isError() {
		s.in.keyFault(string(label), "SELECT", string(v.text()))
		return nil
	}
	type streamGroup struct{ stream, group string }
	var groups []streamGroup
	request = request[:0]
	for i, name := range names {
		about, of := replies[1+2*i], replies[2+2*i]
		if about.isError() || of.isError() {
			s.refused(about, of)
			continue
		}
		key := []byte(name)
		for _, n := range s.numbers {
			n.family.set(b, n.of(about), label, key)
		}
		s.first.set(b, entryTime(about, "first-entry"), label, key)
		s.last.set(b, entryTime(about, "last-entry"), label, key)
		for j := range of.len() {
			g := of.at(j)
			group, ok := g.field("name")
			if !ok {
				continue
			}
			for _, n := range s.groups {
				n.family.set(b, n.of(g), label, key, group.text())
			}
			if !s.in.cfg.StreamsExcludeConsumerMetrics {
				groups = append(groups, streamGroup{name, string(group.text())})
				request = append(request, words("XINFO", "CONSUMERS", name, string(group.text())))
			}
		}
	}
	if len(groups) == 0 {
		return nil
	}
	if replies, err = s.in.conn.exchange(ctx, request); err != nil {
		return err
	}
	for i, g := range groups {
		for j := range replies[i].len() {
			c := replies[i].at(j)
			name, hasName := c.field("name")
			pending, hasPending := c.field("pending")
			idle, hasIdle := c.field("idle")
			if !hasName || !hasPending || !hasIdle {
				continue
			}
			n, _ := pending.integer()
			millis, _ := idle.integer()
			s.pending.set(b, float64(n), label, []byte(g.stream), []byte(g.group), name.text())
			s.idle.set(b, float64(millis)/1e3, label, []byte(g.stream), []byte(g.group), name.text())
		}
	}
	return nil
}

// refused tells why a stream can't be looked into. That it isn't there, or that a pattern found a key of another type, is no fault.
func (s *streams) refused(replies ...value) {
	for _, v := range replies {
		if v.isError() && !bytes.HasPrefix(v.text(), []byte("ERR no such key")) && !bytes.HasPrefix(v.text(), []byte("WRONGTYPE")) {
			s.in.keyFault("check_streams", "XINFO", string(v.text()))
			return
		}
	}
}

// of is the field's value; what the server doesn't tell is 0.
func (n streamNumber) of(v value) float64 {
	at, ok := v.field(n.field)
	if !ok {
		return 0
	}
	if n.id {
		return idTime(at.text())
	}
	i, _ := at.integer()
	return float64(i)
}

// entryTime is the time of an entry [id, [field, value, ...]].
func entryTime(v value, name string) float64 {
	at, ok := v.field(name)
	if !ok {
		return 0
	}
	return idTime(at.at(0).text())
}

// idTime is the time in the identity of an entry, in milliseconds.
func idTime(id []byte) float64 {
	millis, _, _ := bytes.Cut(id, []byte("-"))
	v, _ := parseFloat(millis)
	return v
}
