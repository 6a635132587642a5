package dockerlogs

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// audit remembers what a stream that follows has given, so that a reading of what is there can tell whether the stream left something out. An engine
// (20.10) that comes late to a rotation goes over to the newest file, and what it had not read of those before never comes, though it keeps them: it
// shows in nothing but that reading. Until the reading has shown that nothing is missing, the position stays where the stream began. What the reading
// gives besides, behind all that the stream gave, has been seen once, as what any reading gives: it is compared with the stream's that comes
// after it. It is for one goroutine.
type audit struct {
	from  positions.Position // up to there nothing is missing
	known bool
	holds bool  // the position stays there
	bytes int64 // that the stream has given since, as they lie in the log
	begun int64 // the time of the first message of these
	late  bool  // the stream wasn't read for a while

	// keys are those of the messages that were taken since, in their order; at has for those behind the first settled how many messages were
	// taken before them in the stream that gave them.
	keys    []uint64
	at      []int64
	settled int
	full    bool // keys has no room for all
	noting  bool // what a reading takes is noted
	// handed is how many of the keys are of records that were handed on, and sum is over these.
	handed int
	sum    uint64

	// asked says that the log is to be read from there and compared; given is how often each key is then still to come, open how many these are.
	asked   bool
	reading bool
	given   map[uint64]int32
	open    int
	// hole says that the reading gave something new before all that the stream had given; cut, that the place it should begin at is gone.
	hole, cut bool
	compares  int64 // messages that were compared
	// gone says that something was thrown away that the stream hadn't given.
	gone  bool
	again int // readings that had to be done once more
}

const (
	// mostKeys bounds the keys: with their numbers they take two mebibytes.
	mostKeys = 1 << 17
	// lookBack is how many messages behind the newest one is searched for that comes again.
	lookBack = 1024
	// mostReadings is how often a reading is done once more.
	mostReadings = 5
	// entryBytes is about what a driver writes besides a message.
	entryBytes = 32
	// rest is how much longer than a comparison took the next one is put off, of whatever log.
	rest = 3
)

// rotation is how the engine rotates a container's log: after so many bytes it begins a new file, and keeps so many files. size is 0 when it never
// does, or keeps no log.
func rotation(c *docker.Container) (size, files int64) {
	max := c.LogOptions["max-size"]
	switch c.LogDriver {
	case "local":
		files = 5
		if max == "" {
			max = "20m"
		}
	case "json-file":
		files = 1
	default:
		return 0, 0
	}
	if n, err := strconv.ParseInt(c.LogOptions["max-file"], 10, 64); err == nil && n > 0 {
		files = n
	}
	return parseSize(max), files
}

// parseSize reads a size as Docker writes it: "20m", "512kb", "1.5g"; 0 is none, or one that isn't understood.
func parseSize(text string) int64 {
	text = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(text)), "b")
	factor := 1.0
	if n := len(text); n > 0 {
		if i := strings.IndexByte("kmgtp", text[n-1]); i >= 0 {
			for range i + 1 {
				factor *= 1000
			}
			text = text[:n-1]
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || n < 0 || n*factor > 1<<50 {
		return 0
	}
	return int64(n * factor)
}

// key tells a message from the others of its log.
func key(m *message) uint64 { return mix(xxhash.Sum64(m.text), uint64(m.time)^uint64(m.stream)<<63) } //nolint:gosec // the bits are what is wanted

// mix is a sum over keys that depends on their order. It is part of saved positions.
func mix(sum, key uint64) uint64 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], sum)
	binary.LittleEndian.PutUint64(b[8:], key)
	return xxhash.Sum64(b[:])
}

// begin is called when a stream begins to follow at a position up to which nothing is missing.
func (a *audit) begin(p positions.Position, known, holds bool) {
	p = positions.Position{Since: p.Since, Repeats: p.Repeats, Time: p.Time}
	*a = audit{from: p, known: known, holds: holds, keys: a.keys[:0], at: a.at[:0]}
}

// took notes a message that was taken behind at others of its stream.
func (a *audit) took(m *message, at int64) {
	if a.bytes == 0 {
		a.begun = m.time
	}
	a.bytes += int64(len(m.text)) + entryBytes
	a.add(key(m), at)
}

func (a *audit) add(key uint64, at int64) {
	if a.full = a.full || len(a.keys) >= mostKeys; a.full {
		return
	}
	a.keys, a.at = append(a.keys, key), append(a.at, at)
}

// repeats says of a message that it was taken a little while ago: the stream has begun a file anew.
func (a *audit) repeats(m *message) bool {
	k := key(m)
	for i, n := len(a.keys)-1, lookBack; i >= 0 && n > 0; i, n = i-1, n-1 {
		if a.keys[i] == k {
			return true
		}
	}
	return false
}

// position is where the log was read to as far as that is certain, and what was handed on behind it: HeadLen messages of which the first has the time
// Born, and Head is over them. Those from number pending on have not been handed on.
func (a *audit) position(pending int64) positions.Position {
	for a.handed < len(a.keys) && a.at[a.handed-a.settled] < pending {
		a.sum = mix(a.sum, a.keys[a.handed])
		a.handed++
	}
	p := a.from
	p.HeadLen, p.Head, p.Born = int64(a.handed), a.sum, a.begun
	return p
}

// due says that the log is to be compared: it was rotated since the stream began, or the stream was left waiting.
func (a *audit) due(size int64) bool {
	return size > 0 && len(a.keys) > 0 && (a.late || a.bytes >= size)
}

// must says that it can't be put off, because the engine will throw away what may have been left out, or because the keys have no room.
func (a *audit) must(size, files int64) bool {
	return size > 0 && (a.crowded() || a.bytes/size >= max(1, files-2))
}

// worth says that enough was taken for a rotation to have left something out.
func (a *audit) worth(size int64) bool {
	return size > 0 && len(a.keys) > 0 && (a.late || a.bytes >= size/20)
}

// ask has the log compared when it is read the next time. Messages from number pending on were taken and not handed on: they count as not taken.
func (a *audit) ask(pending int64) {
	a.settle(pending)
	a.asked, a.reading = len(a.keys) > 0, false
}

// settle ends what one stream has given: another comes, whose messages are numbered anew. Those from number pending on count as not taken.
func (a *audit) settle(pending int64) {
	n := len(a.at)
	for n > 0 && a.at[n-1] >= pending {
		n--
	}
	a.keys, a.at = a.keys[:a.settled+n], a.at[:0]
	a.settled = len(a.keys)
	for ; a.handed < a.settled; a.handed++ {
		a.sum = mix(a.sum, a.keys[a.handed])
	}
}

// note has what a reading takes from a position on noted.
func (a *audit) note(p positions.Position, known bool) {
	a.begin(p, known, true)
	a.noting = true
}

// crowded says that the keys have hardly room for more. What a reading can't remember isn't compared.
func (a *audit) crowded() bool { return len(a.keys) >= mostKeys/4*3 }

// compare readies a reading from where the stream began.
func (a *audit) compare(cut bool) {
	a.reading, a.hole, a.cut, a.open, a.compares = len(a.keys) > 0, false, cut, len(a.keys), 0
	a.given = make(map[uint64]int32, len(a.keys))
	for _, k := range a.keys {
		a.given[k]++
	}
	if !a.reading {
		a.end()
	}
}

// compared says of the reading's next message, the one behind at others, that it was taken before.
func (a *audit) compared(m *message, at int64) bool {
	k := key(m)
	n := a.given[k]
	a.compares++
	if a.compares == 1 && n == 0 && (a.cut || a.from.Repeats == 0 && m.time > a.begun) {
		a.cut, a.gone = true, true
	}
	if n == 0 {
		a.hole = a.hole || a.open > 0
		a.add(k, at)
		return false
	}
	if n == 1 {
		delete(a.given, k)
	} else {
		a.given[k] = n - 1
	}
	if a.open--; a.open == 0 && !a.hole {
		a.end() // nothing is missing up to here
	}
	return true
}

// end is the end of the comparison, not of the reading.
func (a *audit) end() {
	a.reading, a.asked, a.given, a.again = false, false, nil, 0
	a.keys, a.at, a.settled = a.keys[:0], a.at[:0], 0
}

// unsure says at the end of a reading that it has to be done once more, because it gave something new in the midst, which has to be compared, too, or because
// it left something out that the stream had given: who reads a log while others have its rotated files open may get old ones in place of
// newer ones (20.10). It ends somewhere.
func (a *audit) unsure() bool {
	if a.full || a.cut || !a.hole && a.open == 0 {
		return false
	}
	a.again++
	return a.again < mostReadings
}

// uncertain says of a saved position that something was handed on behind it that wasn't compared.
func uncertain(p positions.Position) bool { return p.Inode == 0 && p.HeadLen > 0 }

// check is what was handed on behind a saved position, as far as it wasn't compared before the agent ended: so many messages with such a sum over them.
type check struct {
	n   int64
	sum uint64
	got uint64
}

// took says of the next message that it was handed on already, and whether all were those that it should be.
func (c *check) took(m *message) (ok bool) {
	c.got = mix(c.got, key(m))
	c.n--
	return c.n > 0 || c.got == c.sum
}
