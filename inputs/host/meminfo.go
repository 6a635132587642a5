package host

import (
	"context"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// meminfo is /proc/meminfo (proc_meminfo(5)). Only the fields that node_exporter knows are shown.
type meminfo struct {
	file   file
	series *metrics.Registry
	fields memo[*metrics.Series] // nil for a field that isn't shown
	known  map[string]string     // as the file writes it, with the colon, to the end of the metric's name
}

func newMeminfo(m *machine) *meminfo {
	c := &meminfo{file: m.proc("meminfo"), series: m.series, known: map[string]string{
		"Active(anon):": "Active_anon_bytes", "Inactive(anon):": "Inactive_anon_bytes",
		"Active(file):": "Active_file_bytes", "Inactive(file):": "Inactive_file_bytes",
		// Numbers of pages, without a unit.
		"HugePages_Total:": "HugePages_Total", "HugePages_Free:": "HugePages_Free",
		"HugePages_Rsvd:": "HugePages_Rsvd", "HugePages_Surp:": "HugePages_Surp",
	}}
	for _, name := range [...]string{"MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapCached", "Active", "Inactive",
		"Unevictable", "Mlocked", "SwapTotal", "SwapFree", "Zswap", "Zswapped", "Dirty", "Writeback", "AnonPages", "Mapped", "Shmem", "Slab",
		"SReclaimable", "SUnreclaim", "KernelStack", "PageTables", "NFS_Unstable", "Bounce", "WritebackTmp", "CommitLimit", "Committed_AS",
		"VmallocTotal", "VmallocUsed", "VmallocChunk", "Percpu", "HardwareCorrupted", "AnonHugePages", "ShmemHugePages", "ShmemPmdMapped",
		"CmaTotal", "CmaFree", "Hugepagesize", "DirectMap4k", "DirectMap2M", "DirectMap1G"} {
		c.known[name+":"] = name + "_bytes"
	}
	return c
}

func (c *meminfo) collect(_ context.Context, b *metrics.Batch) error {
	data, err := c.file.read()
	if err != nil {
		return err
	}
	return c.parse(data, b)
}

func (c *meminfo) parse(data []byte, b *metrics.Batch) error {
	var bad error
	for n := 1; len(data) > 0; n++ {
		var line, key, field []byte
		line, data = pseudofile.CutLine(data)
		key, rest := pseudofile.CutField(line)
		if len(key) == 0 {
			continue
		}
		s := *c.fields.get(n, key, c.newField)
		if s == nil {
			continue
		}
		field, rest = pseudofile.CutField(rest)
		v, ok := pseudofile.ParseUint(field)
		unit, _ := pseudofile.CutField(rest)
		switch {
		case !ok:
			firstError(&bad, badLine(c.file.path, n, line, "not a number"))
		case len(unit) == 0:
			b.Set(s, float64(v))
		case string(unit) == "kB":
			b.Set(s, float64(v*1024))
		default:
			firstError(&bad, badLine(c.file.path, n, line, "not a unit that the kernel writes"))
		}
	}
	return bad
}

func (c *meminfo) newField(key string) *metrics.Series {
	name, ok := c.known[key]
	if !ok {
		return nil
	}
	return c.series.New(gauge("node_memory_"+name, "Memory information field "+name+"."))
}

func (c *meminfo) close(context.Context) { c.file.close() }
