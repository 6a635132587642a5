package remotewrite

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/prompb"

	"github.com/hermod-agent/hermod/pipeline/queue"
)

// taster is a server that takes some forms of compression, and counts each sample that it stores.
type taster struct {
	*httptest.Server
	mu     sync.Mutex
	stored map[string]int // by series and time
	forms  map[string]int // requests by Content-Encoding
	refuse func(w http.ResponseWriter, form string, p *prompb.WriteRequest) bool
	open   chan struct{} // requests wait until it is closed
}

func newTaster(t *testing.T, refuse func(w http.ResponseWriter, form string, p *prompb.WriteRequest) bool) *taster {
	s := &taster{stored: map[string]int{}, forms: map[string]int{}, refuse: refuse, open: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		select {
		case <-s.open:
		case <-r.Context().Done():
			return
		}
		form := r.Header.Get("Content-Encoding")
		raw, err := decompress(form, body)
		p := &prompb.WriteRequest{}
		if err == nil {
			err = p.Unmarshal(raw)
		}
		if err != nil {
			t.Errorf("a body of Content-Encoding %q: %v", form, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forms[form]++
		if s.refuse(w, form, p) {
			return
		}
		for _, ts := range p.Timeseries {
			for _, x := range ts.Samples {
				s.stored[fmt.Sprint(ts.Labels, x.Timestamp)]++
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func decompress(form string, body []byte) ([]byte, error) {
	if form != "zstd" {
		return snappy.Decode(nil, body)
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(body, nil)
}

func withZstd(c *Config) { c.Compression = "zstd"; c.MaxSamples = 50; c.Delivery.Shards = 3 }

// fill has an output take 20 cycles of 120 series while the server waits, so that bodies of the first form are queued.
func fill(t *testing.T, s *taster, o *output) (samples int) {
	t.Helper()
	f := newFixture(120)
	for range 20 {
		consume(t, o, f.next())
		samples += 120
	}
	close(s.open)
	flush(t, o)
	return samples
}

func (s *taster) check(t *testing.T, samples int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, n := range s.stored {
		if n != 1 {
			t.Errorf("%s was stored %d times", at, n)
		}
	}
	if len(s.stored) != samples {
		t.Errorf("%d samples were stored, want %d", len(s.stored), samples)
	}
}

func TestWhereZstdIsNotTakenNothingIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		words  string
	}{
		"Prometheus":     {415, "zstd encoding (compression) is not accepted by this server; only snappy is acceptable\n"},
		"Mimir":          {400, "snappy: corrupt input\n"},
		"another":        {400, "bad request\n"},
		"a fault of its": {500, "can't decode body: snappy: corrupt input\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTaster(t, func(w http.ResponseWriter, form string, _ *prompb.WriteRequest) bool {
				if form == "zstd" {
					http.Error(w, c.words, c.status)
				}
				return form == "zstd"
			})
			o := running(t, s.URL+"/w", withZstd)
			s.check(t, fill(t, s, o))
			if n := s.forms["zstd"]; n < 1 || n > 3 {
				t.Errorf("zstd was tried %d times by 3 shards", n)
			}
			if losses := o.env.Losses.Counts(); len(losses) > 0 {
				t.Errorf("losses %v", losses)
			}
			faults := o.env.Status.Faults()
			if len(faults) != 1 || !faults[0].Note || !strings.Contains(faults[0].Remedy, "compression") {
				t.Errorf("%+v", faults)
			}
			// What comes now is compressed by snappy from the start.
			before := s.forms["zstd"]
			consume(t, o, newFixture(1).next())
			flush(t, o)
			if s.forms["zstd"] != before {
				t.Error("the server's taste is forgotten")
			}
		})
	}
}

func TestAServerThatTakesNeitherFormIsHeld(t *testing.T) {
	s := newTaster(t, func(w http.ResponseWriter, _ string, _ *prompb.WriteRequest) bool {
		http.Error(w, "not here", http.StatusUnsupportedMediaType)
		return true
	})
	close(s.open)
	o := running(t, s.URL+"/w", func(c *Config) { c.Compression = "zstd" })
	consume(t, o, newFixture(10).next())
	wait(t, func() bool {
		faults := o.env.Status.Faults()
		return len(faults) == 2 && !faults[0].Note
	})
	if tr := balance(t, o); tr.Queued != 10 {
		t.Errorf("%+v", tr)
	}
}

func TestZstdIsKeptWhereItIsTaken(t *testing.T) {
	bad := 0
	s := newTaster(t, func(w http.ResponseWriter, form string, p *prompb.WriteRequest) bool {
		switch {
		case form != "zstd":
			t.Errorf("a body of Content-Encoding %q", form)
		case len(p.Timeseries) > 30: // halves are zstd too
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return true
		case strings.Contains(fmt.Sprint(p.Timeseries), "eth77 "): // single samples are found
			http.Error(w, "out of order sample", http.StatusBadRequest)
			bad++
			return true
		}
		return false
	})
	o := running(t, s.URL+"/w", withZstd)
	samples := fill(t, s, o)
	s.check(t, samples-20)
	if losses := o.env.Losses.Counts(); !maps.Equal(losses, map[string]uint64{"rejected_out_of_order": 20}) || bad < 20 {
		t.Errorf("losses %v after %d refusals", losses, bad)
	}
	// It takes zstd, so what it refuses now is about what is in the body.
	s.mu.Lock()
	s.refuse = func(w http.ResponseWriter, _ string, _ *prompb.WriteRequest) bool {
		http.Error(w, "no", http.StatusBadRequest)
		return true
	}
	s.mu.Unlock()
	consume(t, o, newFixture(10).next())
	flush(t, o)
	if losses := o.env.Losses.Counts(); losses["rejected_other"] != 10 || s.forms["snappy"] != 0 {
		t.Errorf("losses %v, requests %v", losses, s.forms)
	}
}

func TestBlocksOfEitherFormAreSplitAndTranscoded(t *testing.T) {
	for _, compression := range []string{"snappy", "zstd"} {
		o := newOutput(t, "http://x/w", func(c *Config) { c.Compression = compression })
		if err := o.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := o.d.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		f := newFixture(61)
		batch := f.next()
		o.batches[0] = o.d.Batch(0, "team")
		for i := range batch.Samples {
			s, b := o.find(batch.Samples[i].Series, batch.Source, 1)
			b.sample(s, &batch.Samples[i])
		}
		block := o.batches[0].Builder().Build()
		o.d.End(0)
		stop(t, o)
		whole, err := inflate(block)
		if err != nil {
			t.Fatal(err)
		}
		a, b, err := o.Split(block)
		if err != nil || a.Items+b.Items != 61 || a.Protocol != block.Protocol || b.Protocol != block.Protocol {
			t.Fatalf("%+v %+v %v", a, b, err)
		}
		if encodingOf(a) != compression {
			t.Errorf("a half of a block of %s is %s", compression, encodingOf(a))
		}
		for _, x := range []*queue.Block{block, a, b} {
			c, err := o.Transcode(x)
			if compression == "snappy" {
				if c != nil || err != nil {
					t.Errorf("snappy was transcoded to %+v, %v", c, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			want, _ := inflate(x)
			raw, err := snappy.Decode(nil, c.Body)
			if err != nil || !bytes.Equal(raw, want) || c.Items != x.Items || c.Tenant != "team" || c.NewestTime != x.NewestTime || c.OldestTime != x.OldestTime {
				t.Errorf("%+v, %v", c, err)
			}
		}
		if r, err := decodeBlock(block); err != nil || len(r.Timeseries) != 61 {
			t.Errorf("%d bytes: %v", len(whole), err)
		}
	}
}

func decodeBlock(b *queue.Block) (*prompb.WriteRequest, error) {
	raw, err := inflate(b)
	if err != nil {
		return nil, err
	}
	r := &prompb.WriteRequest{}
	return r, r.Unmarshal(raw)
}

func TestBrokenZstdIsAnErrorAndNoPanic(t *testing.T) {
	o := newOutput(t, "http://x/w", withZstd)
	good := o.packer.packAs(zstdProtocol, nil, bytes.Repeat([]byte("sample "), 1000))
	for i := range good {
		for _, body := range [][]byte{good[:i], append(append(bytes.Clone(good[:i]), good[i]^0x55), good[i+1:]...)} {
			b := &queue.Block{Body: body, Protocol: zstdProtocol, Items: 2}
			if raw, err := inflate(b); err == nil && len(raw) > 1<<20 {
				t.Errorf("%d bytes out of %d", len(raw), len(body))
			}
			_, _, _ = o.Split(b)
			_, _ = o.Transcode(b)
		}
	}
	// A bomb: what it inflates to is bounded.
	var bomb bytes.Buffer
	e, err := zstd.NewWriter(&bomb)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 9 {
		if _, err := e.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for limit, fits := range map[int]bool{8 << 20: false, 9 << 20: true} {
		raw, err := inflateUpTo(limit, &queue.Block{Body: bomb.Bytes(), Protocol: zstdProtocol})
		if (err == nil) != fits || fits && len(raw) != 9<<20 {
			t.Errorf("%d bytes out of %d, %v", len(raw), bomb.Len(), err)
		}
	}
}

// BenchmarkCompress is a body of 2000 samples of a node, by either form; bytes/sample is what goes over the wire.
func BenchmarkCompress(b *testing.B) {
	for _, compression := range []string{"snappy", "zstd"} {
		b.Run(compression, func(b *testing.B) {
			o := newOutput(b, "http://x/w", func(c *Config) { c.Compression = compression })
			if err := o.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			defer stop(b, o)
			if err := o.d.Begin(b.Context()); err != nil {
				b.Fatal(err)
			}
			batch := newFixture(2000).next()
			o.batches[0] = o.d.Batch(0, "")
			for i := range batch.Samples {
				s, to := o.find(batch.Samples[i].Series, batch.Source, 1)
				to.sample(s, &batch.Samples[i])
			}
			bld := o.batches[0].Builder().(*builder)
			raw := bytes.Clone(bld.raw)
			bld.raw, bld.items = nil, 0
			o.d.End(0)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			var packed []byte
			for b.Loop() {
				packed, _ = o.packer.pack(packed[:0], raw)
			}
			b.ReportMetric(float64(len(packed))/2000, "bytes/sample")
		})
	}
}
