package dockerlogs

import (
	"time"

	"github.com/hermod-agent/hermod/internal/multiline"
)

// lines joins lines that belong together to records, stdout and stderr each for itself. A line that was written long after the one before it begins a
// record in any case: so a log gives the same records when it is read again. It is for one goroutine.
type lines struct {
	*multiline.Config // nil where each line is a record
	max               int
	open              [2]unfinished
}

// unfinished is a record that may get more lines.
type unfinished struct {
	record
	waits bool
	last  int64     // time of its last line
	due   time.Time // when it is whole though no other has begun
}

// add takes lines and appends the records that they complete.
func (j *lines) add(all, out []record) []record {
	for i := range all {
		out = j.addOne(&all[i], out)
	}
	return out
}

func (j *lines) addOne(line *record, out []record) []record {
	if j.Config == nil {
		return append(out, *line)
	}
	o := &j.open[line.stream]
	if o.waits && (line.time-o.last > int64(j.Wait()) || j.Begins(line.text)) {
		out = append(out, o.record)
		o.waits = false
	}
	first := !o.waits
	if first {
		// The text of the record before is on its way.
		*o = unfinished{record: record{stream: line.stream, time: line.time, at: line.at, prior: line.prior, given: true}, waits: true}
	}
	o.fresh, o.given = o.fresh || line.fresh, o.given && line.given
	var long bool
	o.text, long = multiline.Append(o.text, line.text, first, j.max)
	o.long = o.long || long || line.long
	o.last, o.due = line.time, time.Now().Add(j.Wait())
	return out
}

// end appends the records that wait and are due by a time; all of them for the zero time.
func (j *lines) end(by time.Time, out []record) []record {
	for s := range j.open {
		if o := &j.open[s]; o.waits && (by.IsZero() || !o.due.After(by)) {
			out = append(out, o.record)
			*o = unfinished{}
		}
	}
	return out
}

// due is when the first record that waits is whole in any case.
func (j *lines) due() (at time.Time, waits bool) {
	for s := range j.open {
		if o := &j.open[s]; o.waits && (!waits || o.due.Before(at)) {
			at, waits = o.due, true
		}
	}
	return at, waits
}

// earliest is the first message of the records that wait: how many were before it, and the time of the one before.
func (j *lines) earliest() (at, prior int64) {
	at = none
	for s := range j.open {
		if o := &j.open[s]; o.waits && o.at < at {
			at, prior = o.at, o.prior
		}
	}
	return at, prior
}

func (j *lines) reset() { j.open = [2]unfinished{} }
