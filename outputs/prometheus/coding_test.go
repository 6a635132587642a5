package prometheus

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestTheCodingIsTheOneThatTheScraperLikesBest(t *testing.T) {
	for header, want := range map[string]coding{
		"":                              identity,
		"gzip":                          gzipped,
		"GZIP":                          gzipped,
		"x-gzip":                        gzipped,
		"zstd":                          zstded,
		"ZSTD":                          zstded,
		"gzip, zstd":                    zstded,
		"gzip, deflate, br, zstd":       zstded, // browsers
		"zstd;q=0.5, gzip":              gzipped,
		"zstd;q=0.5, gzip;q=0.5":        zstded,
		"gzip;q=1.0, zstd;q=0":          gzipped,
		"deflate, gzip;q=1.0":           gzipped,
		"br, gzip; q=0.5":               gzipped,
		"gzip;q=0":                      identity,
		"gzip;q=0, zstd;q=0":            identity,
		"gzip;q=x":                      identity,
		"gzip;q=-1":                     identity,
		"gzip;q=2":                      identity,
		"gzip;q=NaN":                    identity,
		"identity":                      identity,
		"identity, gzip;q=0.5":          identity,
		"identity;q=0.2, gzip;q=0.5":    gzipped,
		"identity;q=0, gzip;q=0.1":      gzipped,
		"*":                             gzipped,
		"*;q=0":                         identity,
		"*;q=0, zstd":                   zstded,
		"gzip;q=0, *":                   identity,
		"gzip;q=0.2, *;q=0.5":           identity,
		"identity;q=0.1, *;q=0.5":       gzipped,
		"zstd;q=0.3, *;q=0.1":           zstded,
		"gzip;level=9;q=0.4, zstd;q=.3": gzipped,
		" , ;q=1, ,":                    identity,
	} {
		if got := chooseCoding([]string{header}); got != want {
			t.Errorf("Accept-Encoding %q: %s, want %s", header, got, want)
		}
	}
	if got := chooseCoding([]string{"gzip", "zstd"}); got != zstded {
		t.Errorf("two headers: %s", got)
	}
	if got := chooseCoding(nil); got != identity {
		t.Errorf("no header: %s", got)
	}
}

func plain(t testing.TB, w *httptest.ResponseRecorder) []byte {
	t.Helper()
	var body io.Reader = w.Body
	switch c := w.Header().Get("Content-Encoding"); c {
	case "gzip":
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		body = z
	case "zstd":
		z, err := zstd.NewReader(w.Body, zstd.WithDecoderMaxWindow(8<<20)) // RFC 9659: HTTP's clients need not take more
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		body = z
	case "":
	default:
		t.Fatalf("Content-Encoding %q", c)
	}
	page, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func TestAPageIsTheSameInEveryCoding(t *testing.T) {
	b, _ := threeInputs(t)
	for header, want := range map[string]string{"": "", "gzip": "gzip", "zstd": "zstd", "zstd;q=0.1, gzip;q=0.2": "gzip"} {
		for range 2 { // the second with a writer that was used
			w := b.get(t, "/metrics", "Accept-Encoding", header)
			if got := w.Header().Get("Content-Encoding"); got != want {
				t.Errorf("Accept-Encoding %q: %q", header, got)
			}
			if vary := w.Header().Get("Vary"); !strings.Contains(vary, "Accept-Encoding") {
				t.Errorf("Vary: %q", vary)
			}
			if p := parsePage(t, string(plain(t, w)), false); len(p.series) == 0 {
				t.Error("an empty page")
			}
		}
	}
}

// page makes text like that of a page, of about size bytes.
func pageText(size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "node_cpu_seconds_total{cpu=\"%d\",mode=\"%s\"} %d.%d\n", i%64, []string{"idle", "user", "system", "iowait"}[i%4], i*7919%1000003, i%100)
	}
	return b.Bytes()
}

// answerText gives out a text as if it were a page.
func (o *output) answerText(w http.ResponseWriter, s *sheet, text []byte, c coding) error {
	body, c, err := o.make(s, c, func(buf []byte, pass func([]byte) []byte) {
		for line := range bytes.Lines(text) {
			if buf = append(buf, line...); len(buf) >= pieceSize {
				buf = pass(buf)
			}
		}
		pass(buf)
	})
	if err != nil {
		return err
	}
	return send(w, body, c)
}

func TestAPageThatIsCompressedIsNowhereAsAWhole(t *testing.T) {
	var o output
	page := pageText(4 << 20)
	for _, c := range []coding{zstded, gzipped} {
		s := &sheet{plain: make([]byte, 0, pieceSize+pieceSize/8)}
		if err := o.answerText(httptest.NewRecorder(), s, page, c); err != nil {
			t.Fatal(err)
		}
		if n := cap(s.plain); n > 2*pieceSize {
			t.Errorf("%s: %d bytes of a page of %d", c, n, len(page))
		}
	}
}

func TestPagesOfAllSizesComeThroughWholeAtOnce(t *testing.T) {
	var o output
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			s := new(sheet)
			for _, size := range []int{0, 1, 100, 64 << 10, zstdWindow, 3*zstdWindow + 7} {
				want := pageText(size)
				for _, c := range []coding{zstded, gzipped, identity} {
					w := httptest.NewRecorder()
					if err := o.answerText(w, s, want, c); err != nil {
						t.Error(err)
					}
					if got := plain(t, w); !bytes.Equal(got, want) {
						t.Errorf("%d bytes as %s: %d came back", len(want), c, len(got))
					}
				}
			}
		})
	}
	all.Wait()
}

// leaver is a scraper that goes away after some bytes.
type leaver struct {
	http.ResponseWriter
	left int
}

var errGone = errors.New("gone")

func (l *leaver) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errGone
	}
	return len(p), nil
}

func TestAWriterWhoseScraperLeftWritesTheNextPageWhole(t *testing.T) {
	var o output
	want := pageText(2 << 20)
	for _, c := range []coding{zstded, gzipped} {
		s := new(sheet)
		for _, after := range []int{0, 10, 10 << 10} {
			if err := o.answerText(&leaver{ResponseWriter: httptest.NewRecorder(), left: after}, s, want, c); !errors.Is(err, errGone) {
				t.Errorf("%s: %v", c, err)
			}
			w := httptest.NewRecorder()
			if err := o.answerText(w, s, want, c); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(plain(t, w), want) {
				t.Errorf("%s: the page after one that broke off isn't whole", c)
			}
		}
	}
}

// sink counts what is written.
type sink struct {
	header http.Header
	n      int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(p []byte) (int, error) { s.n += len(p); return len(p), nil }

// BenchmarkSend is the page of a node, about 700 series; ratio is what is left of it.
func BenchmarkSend(b *testing.B) {
	o := newBench(b, nil)
	source := hostSource("host")
	batch := nodeFixture(o.env.Series, source)
	if err := o.ConsumeMetrics(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	page := []byte(o.text([]input{{source: source, up: true}}, true, 0))
	for _, c := range []coding{gzipped, zstded} {
		b.Run(string(c), func(b *testing.B) {
			b.SetBytes(int64(len(page)))
			b.ReportAllocs()
			s, paper := &sink{header: http.Header{}}, new(sheet)
			for b.Loop() {
				s.n = 0
				if err := o.answerText(s, paper, page, c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(s.n)/float64(len(page)), "ratio")
		})
	}
}
