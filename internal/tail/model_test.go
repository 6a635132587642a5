package tail

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

// TestNothingIsLostWhateverHappens writes numbered lines to a log that is rotated, truncated and deleted at random, while its reader
// stops, is killed and starts again, and holds that against a model: every line is delivered, within one life of the reader in order
// and once, and a reader that stopped in good order repeats nothing.
func TestNothingIsLostWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "model") //nolint:usetesting // a folder for each run of the model, of which there are hundreds
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &model{
			T: rt, dir: dir, delivered: map[int]bool{}, last: -1,
			dated: rapid.Bool().Draw(rt, "names with dates"), single: rapid.Bool().Draw(rt, "one position"),
			buf: make([]byte, 2048+rapid.IntRange(0, 3000).Draw(rt, "buffer")),
		}
		m.begin()
		defer func() { m.log.Close(); m.closeWriter() }()
		rt.Repeat(map[string]func(*rapid.T){
			"write":                 m.write,
			"write half a line":     m.writeHalf,
			"rotate":                m.rotate,
			"go over to a new file": m.reopen,
			"read":                  m.read,
			"take":                  func(*rapid.T) { m.take() },
			"save":                  func(*rapid.T) { m.save() },
			"stop and start":        m.restart,
			"kill and start":        m.kill,
			"truncate":              m.truncate,
			"delete":                m.remove,
			"forget the oldest":     m.expire,
			"park":                  func(*rapid.T) { m.log.Park() },
		})
		m.reopen(rt)
		m.drain()
		for i := range m.next {
			if !m.delivered[i] {
				rt.Fatalf("line %d of %d was never delivered", i, m.next)
			}
		}
	})
}

type model struct {
	*rapid.T
	dir           string
	dated, single bool
	impatient     bool // the reader gives up a renamed file as soon as it is read
	buf           []byte

	writer *os.File
	half   bool // the last line that was written has no end yet
	next   int  // number of the next line
	turns  int  // rotations, for the names

	log     *Log
	book    *positions.Book
	pending []move
	saved   map[string]positions.Position

	delivered map[int]bool
	last      int // line delivered last in this life
}

type move struct {
	key      string
	position positions.Position
}

func (m *model) path(name string) string { return filepath.Join(m.dir, name) }

func (m *model) check(err error) {
	if err != nil {
		m.Fatal(err)
	}
}

// begin is the start of a life with the saved positions.
func (m *model) begin() {
	store, err := positions.Open("", slog.New(slog.DiscardHandler))
	m.check(err)
	m.book = store.Book("a")
	var resume []positions.Position
	for key, p := range m.saved {
		m.book.Set(key, p)
		resume = append(resume, p)
	}
	// Nothing was there before the first life, so nothing that lies beside the path is old.
	o := Options{Path: m.path("app.log"), Resume: resume, Linger: time.Hour, Since: time.Now().Add(-time.Hour)}
	if m.impatient = rapid.Bool().Draw(m.T, "impatient"); m.impatient {
		o.Linger = time.Nanosecond
	}
	if !m.single {
		o.Registry = NewRegistry(m.book)
	}
	m.log = Open(o)
	m.pending = nil
	m.log.Position()
}

func (m *model) closeWriter() {
	if m.writer != nil {
		m.writer.Close()
		m.writer = nil
	}
}

func (m *model) out(s string) {
	if m.writer == nil {
		f, err := os.OpenFile(m.path("app.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		m.check(err)
		m.writer = f
	}
	_, err := m.writer.WriteString(s)
	m.check(err)
}

func (m *model) line(n int) string { return fmt.Sprintf("%d %s", n, strings.Repeat("x", n*7%300)) }

func (m *model) write(t *rapid.T) {
	m.finishLine()
	for range rapid.IntRange(1, 40).Draw(t, "lines") {
		m.out(m.line(m.next) + "\n")
		m.next++
	}
}

func (m *model) writeHalf(*rapid.T) {
	m.finishLine()
	if _, err := os.Stat(m.path("app.log")); err != nil && m.writer != nil {
		return // half a line at the end of a renamed file counts as a line after a while
	}
	line := m.line(m.next)
	m.next++
	m.out(line[:len(line)/2])
	m.half = true
}

// finishLine writes the other half of a line.
func (m *model) finishLine() {
	if m.half {
		line := m.line(m.next - 1)
		m.out(line[len(line)/2:] + "\n")
		m.half = false
	}
}

// rotate renames the files. The writer goes on with the old one until it goes over to a new one.
func (m *model) rotate(t *rapid.T) {
	if m.writer == nil {
		return
	}
	if _, err := os.Lstat(m.path("app.log")); err != nil {
		return // it has not gone over since the last rotation
	}
	m.finishLine()
	m.turns++
	if m.dated {
		m.check(os.Rename(m.path("app.log"), m.path(fmt.Sprintf("app.log-%08d", m.turns))))
	} else {
		for i := 200; i > 0; i-- {
			if err := os.Rename(m.path(fmt.Sprint("app.log.", i)), m.path(fmt.Sprint("app.log.", i+1))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		m.check(os.Rename(m.path("app.log"), m.path("app.log.1")))
	}
	if rapid.Bool().Draw(t, "reopen at once") {
		m.reopen(t)
	}
}

func (m *model) reopen(*rapid.T) {
	m.finishLine()
	m.closeWriter()
	m.out("")
}

// read takes a few chunks without telling the book.
func (m *model) read(t *rapid.T) {
	for range rapid.IntRange(1, 5).Draw(t, "chunks") {
		if !m.readChunk() {
			return
		}
	}
}

func (m *model) readChunk() bool {
	c, err := m.log.Read(m.buf)
	m.check(err)
	if c.Empty() {
		return c.More()
	}
	for line, ok := c.Next(); ok; line, ok = c.Next() {
		number, rest, _ := strings.Cut(string(line), " ")
		n, err := strconv.Atoi(number)
		if err != nil || string(line) != m.line(n) {
			m.Fatalf("a line came that nobody wrote: %q %q", line, rest)
		}
		if n <= m.last {
			m.Fatalf("line %d came after line %d", n, m.last)
		}
		for i := m.last + 1; i < n; i++ {
			if !m.delivered[i] {
				m.Fatalf("line %d came before line %d", n, i)
			}
		}
		m.last = n
		m.delivered[n] = true
	}
	key := c.Key()
	if m.single {
		key = "the one"
	}
	m.pending = append(m.pending, move{key, c.Position()})
	return true
}

// take tells the book what was read.
func (m *model) take() {
	for _, x := range m.pending {
		m.book.Set(x.key, x.position)
	}
	m.pending = nil
}

func (m *model) save() {
	before := m.saved
	m.saved = map[string]positions.Position{}
	m.book.Each(func(key string, p positions.Position) bool {
		// A store keeps the time of what was not set in this life; the book of the model was given it at the start.
		if was, ok := before[key]; ok {
			was.Updated = p.Updated
			if was == p {
				p = before[key]
			}
		}
		m.saved[key] = p
		return true
	})
	if p, ok := m.log.Position(); ok && m.single && len(m.saved) == 0 && p.Offset == 0 && p.HeadLen > 0 {
		p.Updated = time.Now().Unix()
		m.saved["the one"] = p // a reader of one path notes where it begins
	}
}

func (m *model) restart(*rapid.T) {
	m.take()
	m.save()
	m.log.Close()
	last := m.last
	m.begin()
	m.last = last // nothing is repeated
}

func (m *model) kill(*rapid.T) {
	m.log.Close()
	m.last = -1
	m.begin()
}

// drain reads all there is, and takes and saves it.
func (m *model) drain() {
	for m.readChunk() {
	}
	m.take()
	m.save()
}

// truncate empties the file as copytruncate does; what has not been read by then is lost for anybody.
func (m *model) truncate(*rapid.T) {
	if _, err := os.Stat(m.path("app.log")); err != nil || m.writer == nil {
		return
	}
	m.finishLine()
	m.drain()
	m.check(m.writer.Truncate(0))
}

// remove deletes the file under its reader. With one position for all, the file that the position is in may not vanish while older ones
// stay: what is known of those is no more than their times.
func (m *model) remove(*rapid.T) {
	if m.writer == nil || m.single {
		return
	}
	m.finishLine()
	m.drain()
	err := os.Remove(m.path("app.log"))
	if err == nil {
		m.closeWriter()
	}
}

// expire deletes the oldest generation once it has been read.
func (m *model) expire(*rapid.T) {
	names, err := filepath.Glob(m.path("app.log?*"))
	m.check(err)
	if _, err := os.Stat(m.path("app.log")); err != nil || len(names) == 0 {
		return // one that was born and renamed before the reader looked is found with its successor
	}
	m.finishLine()
	m.drain()
	oldest := slices.MinFunc(names, func(a, b string) int { return compareAge("app.log", filepath.Base(a), filepath.Base(b)) })
	if m.writer != nil {
		if info, err := m.writer.Stat(); err == nil {
			if other, err := os.Stat(oldest); err == nil && os.SameFile(info, other) {
				return
			}
		}
	}
	m.check(os.Remove(oldest))
}
