package dockerlogs

import (
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// audit remembers what a stream that follows has given, so that a reading of what is there can tell whether the stream left something out. An engine
// (20.10) that comes late to a rotation goes over to the newest file, and what it had not read of those before never comes, though it keeps them: it
// shows in nothing but that reading. It is for one goroutine.
type audit struct {
	from  positions.Position // where the stream began
	known bool
	bytes int64 // that the stream has given, as they lie in the log
	// times are those of the messages that were taken, in their order, and short; first is how many were taken before them.
	times []uint32
	first int64
	// asked says that the log is to be read from there and compared; given is how often each time is then still to come.
	asked bool
	given map[uint32]int
	// reading says that this goes on: next are the times of what it gives, and fresh is how many bytes of it are new. A reading amid a rotation may leave
	// something out, too.
	reading   bool
	next      []uint32
	nextFirst int64
	fresh     int64
	more      int // readings for the sake of a little, since the stream began
}

const (
	// mostTimes bounds the times: half a mebibyte.
	mostTimes = 1 << 17
	// lookBack is how many messages behind the newest one is searched for that comes again.
	lookBack = 1024
	// mostReadings is how often a reading is compared with another because of a little that was new.
	mostReadings = 2
	// entryBytes is about what a driver writes besides a message.
	entryBytes = 32
)

// rotatesAt is the size at which the engine begins a new file for the container's log, 0 when it never does or keeps none.
func rotatesAt(c *docker.Container) int64 {
	size := c.LogOptions["max-size"]
	switch c.LogDriver {
	case "local":
		if size == "" {
			size = "20m"
		}
	case "json-file":
	default:
		return 0
	}
	return parseSize(size)
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

// short is enough of a time to tell two of a log apart.
func short(t int64) uint32 { return uint32(t) ^ uint32(t>>32) } //nolint:gosec // the low halves are what is wanted

// begin is called when a stream begins to follow at a position.
func (a *audit) begin(p positions.Position, known bool) {
	*a = audit{from: p, known: known, times: a.times[:0], next: a.next[:0]}
}

// took notes a message that was taken as number at.
func (a *audit) took(m *message, at int64) {
	if len(a.times) == 0 {
		a.first = at
	}
	a.times = append(a.times, short(m.time))
	a.bytes += int64(len(m.text)) + entryBytes
}

// again says of a message that it was taken a little while ago: the stream has begun a file anew.
func (a *audit) again(t int64) bool {
	for i, n := len(a.times)-1, lookBack; i >= 0 && n > 0; i, n = i-1, n-1 {
		if a.times[i] == short(t) {
			return true
		}
	}
	return false
}

// due says that so much was taken that the log has been rotated since the stream began.
func (a *audit) due(rotates int64) bool {
	return rotates > 0 && (a.bytes >= rotates || len(a.times) >= mostTimes)
}

// worth says that enough was taken for a rotation to have left something out.
func (a *audit) worth(rotates int64) bool {
	return rotates > 0 && len(a.times) > 0 && a.bytes >= rotates/20
}

// ask has the log compared when it is read the next time. Messages from number pending on were taken and not handed on: they count as not taken.
func (a *audit) ask(pending int64) {
	if most := pending - a.first; most < int64(len(a.times)) {
		a.times = a.times[:max(0, most)]
	}
	a.asked = true
}

// compare readies a reading from where the stream began.
func (a *audit) compare() {
	a.reading, a.next, a.fresh = true, a.next[:0], 0
	a.given = make(map[uint32]int, len(a.times))
	for _, t := range a.times {
		a.given[t]++
	}
}

// compared says of the reading's next message, number at, that the stream has given it. From the first that it hasn't on everything is new.
func (a *audit) compared(m *message, at int64) bool {
	if len(a.next) == 0 {
		a.nextFirst = at
	}
	if len(a.next) < mostTimes {
		a.next = append(a.next, short(m.time))
	}
	if a.given[short(m.time)] > 0 {
		a.given[short(m.time)]--
		return true
	}
	a.fresh += int64(len(m.text)) + entryBytes
	a.end()
	return false
}

// end is the end of the comparison, not of the reading.
func (a *audit) end() { a.asked, a.given = false, nil }

// read is the end of the reading. It says whether it has to be compared with another one, because it gave something new.
func (a *audit) read(rotates int64) bool {
	a.reading = false
	if a.fresh == 0 || len(a.next) >= mostTimes {
		return false
	}
	if a.fresh < rotates/20 {
		// However little came last: what was left out lies before it. Behind a log that is written to all the time this has to end somewhere.
		if a.more++; a.more > mostReadings {
			return false
		}
	}
	a.times, a.next, a.first = a.next, a.times, a.nextFirst
	return true
}
