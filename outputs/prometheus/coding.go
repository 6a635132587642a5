package prometheus

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// coding is a content coding by its name in HTTP.
type coding string

const (
	identity coding = "identity"
	gzipped  coding = "gzip"
	zstded   coding = "zstd" // RFC 8878
)

// zstdWindow bounds what an encoder looks back, and with it the memory that it keeps: the lines of a page look like those just before them.
const zstdWindow = 256 << 10

// chooseCoding picks the coding with the highest weight of those that this page can be written in (RFC 9110, 12.5.3); among equals zstd
// goes before gzip, and both before none. Who accepts nothing gets the page as it is. "*" doesn't mean zstd here: many who write it have
// never heard of that.
func chooseCoding(header []string) coding {
	weights := map[coding]float64{} // of those that were named
	for _, line := range header {
		for offer := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(offer, ";")
			c := coding(strings.ToLower(strings.TrimSpace(name)))
			switch c {
			case identity, gzipped, zstded, "*":
			case "x-gzip": // the same, by the same paragraph of the RFC
				c = gzipped
			default:
				continue
			}
			q := weight(params)
			if old, twice := weights[c]; !twice || q > old {
				weights[c] = q
			}
		}
	}
	for _, c := range []coding{identity, gzipped} {
		if _, named := weights[c]; !named {
			weights[c] = weights["*"]
		}
	}
	best := identity
	for _, c := range []coding{gzipped, zstded} {
		if q := weights[c]; q > 0 && q >= weights[best] {
			best = c
		}
	}
	return best
}

// weight reads ";q=0.5". One that can't be read is 0: such an offer is better left alone.
func weight(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, ok := strings.Cut(p, "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}

// sheet is the memory that a page is made in.
type sheet struct {
	plain  []byte // the page, or the piece of it that is being written
	packed []byte
}

var _ io.Writer = (*sheet)(nil)

// Write takes what was compressed.
func (s *sheet) Write(b []byte) (int, error) {
	s.packed = append(s.packed, b...)
	return len(b), nil
}

// keptSheet is how large a page's memory may be to be kept for the next page.
const keptSheet = 8 << 20

// make makes a page in a coding, and says which one it has become. write writes the page and hands on each piece of it. The page as a whole is
// nowhere but in its coding: of a page that is compressed that is a tenth of it.
func (o *output) make(s *sheet, c coding, write func(buf []byte, pass func(piece []byte) []byte)) (body []byte, has coding, err error) {
	if c == identity {
		write(s.plain[:0], func(piece []byte) []byte {
			s.plain = piece
			return piece
		})
		return s.plain, identity, nil
	}
	s.packed = s.packed[:0]
	z, release := o.compressor(c, s)
	defer release()
	size := 0
	write(s.plain[:0], func(piece []byte) []byte {
		size += len(piece)
		_, wrong := z.Write(piece)
		err = errors.Join(err, wrong)
		s.plain = piece[:0]
		return s.plain
	})
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, c, fmt.Errorf("compress the page: %w", err)
	}
	if size == 0 {
		return nil, identity, nil // zstd would write nothing at all
	}
	return s.packed, c, nil
}

// compressor returns one that writes to w, and what gives it back.
func (o *output) compressor(c coding, w io.Writer) (z io.WriteCloser, release func()) {
	if c == gzipped {
		g, _ := o.gzips.Get().(*gzip.Writer)
		if g == nil {
			// The fastest level: a page shrinks to a tenth with it, and to a twelfth with the best at several times the price.
			g, _ = gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // fails for a wrong level only
		}
		g.Reset(w)
		return g, func() {
			g.Reset(io.Discard) // lets go of w
			o.gzips.Put(g)
		}
	}
	e, _ := o.zstds.Get().(*zstd.Encoder)
	if e == nil {
		// With a concurrency of 1 it has no goroutines, so that it can be forgotten when the pool is emptied.
		e, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), // fails for wrong options only
			zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
	}
	e.Reset(w)
	return e, func() {
		e.Reset(nil)
		o.zstds.Put(e)
	}
}

// send answers with a page.
func send(w http.ResponseWriter, body []byte, c coding) error {
	if c != identity {
		w.Header().Set("Content-Encoding", string(c))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if _, err := w.Write(body); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}
