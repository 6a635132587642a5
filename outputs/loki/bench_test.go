package loki

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/logs"
)

// benchBatch has n lines of about 200 bytes, as a web service writes them, in runs of streams.
func benchBatch(n, streams int) *logs.Batch {
	reg := logs.NewRegistry()
	var all []*logs.Stream
	for i := range streams {
		all = append(all, reg.New(labels.FromStrings("container", fmt.Sprintf("web-%d", i), "image", "shop/web:1.2.3", "stream", "stdout"), ""))
	}
	var b logs.Batch
	b.Begin("input.bench")
	at := time.Now().UnixNano()
	for i := range n {
		line := fmt.Sprintf(`%07d level=info caller=handler.go:%d msg="request done" method=GET path=/api/v1/orders/%d status=200 duration=%dms bytes=%d remote=10.0.%d.%d agent="curl/7.88.1" id=%08x trace=%016x`,
			i, i%397, i*7919%1_000_003, i%2999, i*31%99_991, i%251, i%241, uint32(i)*2654435761, uint64(i)*0x9E3779B97F4A7C15)
		b.Add(logs.Record{Stream: all[i/8%streams], Time: at + int64(i), Line: []byte(line)})
	}
	return &b
}

// BenchmarkEncode is the output's whole way but for the network: a record a round.
func BenchmarkEncode(b *testing.B) {
	for _, streams := range []int{1, 50} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			o := newOutput(b, "http://loki"+pushPath, nil)
			batch := benchBatch(2000, streams)
			bld := &builder{out: o}
			for i := range batch.Records {
				o.know(batch.Records[i].Stream, 1)
			}
			b.SetBytes(int64(batch.Bytes() / len(batch.Records)))
			b.ReportAllocs()
			i, blocks, sent := 0, 0, 0
			for b.Loop() {
				r := &batch.Records[i%len(batch.Records)]
				i++
				s := o.streams.Get(r.Stream.ID, r.Stream, 1)
				bld.add(s, r, r.Line)
				if bld.size >= int(o.cfg.BatchSize) {
					block := bld.Build()
					blocks++
					sent += len(block.Body)
				}
			}
			if blocks > 0 {
				b.ReportMetric(float64(sent)/float64(i), "sentB/line")
			}
		})
	}
}

// BenchmarkPush is the way from a batch of 1000 records to a server that reads and forgets, in this process: a record a round.
func BenchmarkPush(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			b.Error(err)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer s.Close()
	o := newOutput(b, s.URL+pushPath, nil)
	if err := o.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	batch := benchBatch(1000, 5)
	b.SetBytes(int64(batch.Bytes() / len(batch.Records)))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i++; i%len(batch.Records) == 0 {
			if err := o.ConsumeLogs(ctx, batch); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := o.Flush(component.WithHurry(ctx)); err != nil {
		b.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
	if err := o.Stop(context.Background()); err != nil {
		b.Error(err)
	}
}
