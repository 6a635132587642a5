package host

import (
	"bytes"

	"github.com/hermod-agent/hermod/internal/pseudofile"
)

// modes of CPU time in the order of /proc/stat (proc_stat(5)); the last two are guest time, which user and nice contain as well.
const (
	modeIdle  = 3
	modeGuest = 8
	modes     = 10
)

// maxCPU bounds the number of a CPU: the kernel's largest NR_CPUS is 8192.
const maxCPU = 1 << 16

// procStat is /proc/stat, read once a cycle for the collectors cpu and stat: it is the dearest of the files, because the kernel adds up
// every interrupt on every CPU for it.
type procStat struct {
	file  file
	begun bool
	cycle uint64
	ok    bool // the file could be read in this cycle
	err   error
	reads uint64 // how often it could be read

	cpus                                           []cpuTimes // in file order
	intr, ctxt, btime, forks, procsRun, procsBlock uint64
}

type cpuTimes struct {
	id    int
	ticks [modes]uint64 // 1/100 s
}

func newProcStat(m *machine) *procStat { return &procStat{file: m.proc("stat")} }

// update reads the file unless this cycle has done so. What could be read is there, even with an error.
func (p *procStat) update(cycle uint64) error {
	if p.begun && p.cycle == cycle {
		return p.err
	}
	p.begun, p.cycle = true, cycle
	var data []byte
	data, p.err = p.file.read()
	p.ok = p.err == nil
	if p.ok {
		p.reads++
		p.err = p.parse(data)
	}
	return p.err
}

func (p *procStat) parse(data []byte) error {
	p.cpus = p.cpus[:0]
	p.intr, p.ctxt, p.btime, p.forks, p.procsRun, p.procsBlock = 0, 0, 0, 0, 0, 0
	var bad error
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data = pseudofile.CutLine(data)
		key, rest := pseudofile.CutField(line)
		if bytes.HasPrefix(key, []byte("cpu")) {
			if len(key) > len("cpu") && !p.parseCPU(key[len("cpu"):], rest) {
				firstError(&bad, badLine(p.file.path, n, line, "not the times of a CPU"))
			}
			continue
		}
		var to *uint64
		switch string(key) {
		case "intr":
			to = &p.intr // the sum; a number for each interrupt follows
		case "ctxt":
			to = &p.ctxt
		case "btime":
			to = &p.btime
		case "processes":
			to = &p.forks
		case "procs_running":
			to = &p.procsRun
		case "procs_blocked":
			to = &p.procsBlock
		default:
			continue
		}
		field, _ := pseudofile.CutField(rest)
		v, ok := pseudofile.ParseUint(field)
		if !ok {
			firstError(&bad, badLine(p.file.path, n, line, "not a number"))
			continue
		}
		*to = v
	}
	return bad
}

// parseCPU reads the times of one CPU. Old kernels have fewer than ten; the rest is 0.
func (p *procStat) parseCPU(number, times []byte) bool {
	id, ok := pseudofile.ParseUint(number)
	if !ok || id >= maxCPU {
		return false
	}
	c := cpuTimes{id: int(id)}
	for i := range c.ticks {
		var field []byte
		field, times = pseudofile.CutField(times)
		if len(field) == 0 {
			if i == 0 {
				return false
			}
			break
		}
		if c.ticks[i], ok = pseudofile.ParseUint(field); !ok {
			return false
		}
	}
	p.cpus = append(p.cpus, c)
	return true
}
