package containers

import (
	"errors"

	"golang.org/x/sys/unix"
)

// fileID is a file of a cgroup that is read at every collection.
type fileID int

const (
	v1CPUPerCPU fileID = iota
	v1CPUTotal
	v1CPUSplit
	v1CPUStat
	v1Shares
	v1Period
	v1Quota
	v1MemoryStat
	v1MemoryUsage
	v1MemoryMax
	v1MemoryFailures
	v1MemoryKernel
	v1MemoryOOM
	v1MemoryLimit
	v1MemorySwapLimit
	v1MemorySoftLimit

	v2CPUStat
	v2Weight
	v2CPUMax
	v2MemoryStat
	v2MemoryUsage
	v2MemoryPeak
	v2MemorySwap
	v2MemoryEvents
	v2MemoryLimit
	v2MemorySwapLimit
	v2MemoryMin
	v2IO

	pidsCurrent
	pidsMax
	pressureCPU
	pressureMemory
	pressureIO

	v1BlkioFirst // the files of blkioFiles, in their order
)

// fileTable says where each file lies. The formats are described in https://docs.kernel.org/admin-guide/cgroup-v1/ and
// https://docs.kernel.org/admin-guide/cgroup-v2.html.
var fileTable = func() []struct {
	in   controller
	name fileName
} {
	type place = struct {
		in   controller
		name fileName
	}
	t := []place{
		v1CPUPerCPU:       {ctlCPUAcct, "cpuacct.usage_percpu\x00"},
		v1CPUTotal:        {ctlCPUAcct, "cpuacct.usage\x00"},
		v1CPUSplit:        {ctlCPUAcct, "cpuacct.stat\x00"},
		v1CPUStat:         {ctlCPU, "cpu.stat\x00"},
		v1Shares:          {ctlCPU, "cpu.shares\x00"},
		v1Period:          {ctlCPU, "cpu.cfs_period_us\x00"},
		v1Quota:           {ctlCPU, "cpu.cfs_quota_us\x00"},
		v1MemoryStat:      {ctlMemory, "memory.stat\x00"},
		v1MemoryUsage:     {ctlMemory, "memory.usage_in_bytes\x00"},
		v1MemoryMax:       {ctlMemory, "memory.max_usage_in_bytes\x00"},
		v1MemoryFailures:  {ctlMemory, "memory.failcnt\x00"},
		v1MemoryKernel:    {ctlMemory, "memory.kmem.usage_in_bytes\x00"},
		v1MemoryOOM:       {ctlMemory, "memory.oom_control\x00"},
		v1MemoryLimit:     {ctlMemory, "memory.limit_in_bytes\x00"},
		v1MemorySwapLimit: {ctlMemory, "memory.memsw.limit_in_bytes\x00"},
		v1MemorySoftLimit: {ctlMemory, "memory.soft_limit_in_bytes\x00"},

		v2CPUStat:         {ctlUnified, "cpu.stat\x00"},
		v2Weight:          {ctlUnified, "cpu.weight\x00"},
		v2CPUMax:          {ctlUnified, "cpu.max\x00"},
		v2MemoryStat:      {ctlUnified, "memory.stat\x00"},
		v2MemoryUsage:     {ctlUnified, "memory.current\x00"},
		v2MemoryPeak:      {ctlUnified, "memory.peak\x00"}, // Linux 5.19
		v2MemorySwap:      {ctlUnified, "memory.swap.current\x00"},
		v2MemoryEvents:    {ctlUnified, "memory.events\x00"},
		v2MemoryLimit:     {ctlUnified, "memory.max\x00"},
		v2MemorySwapLimit: {ctlUnified, "memory.swap.max\x00"},
		v2MemoryMin:       {ctlUnified, "memory.min\x00"},
		v2IO:              {ctlUnified, "io.stat\x00"},

		pidsCurrent:    {ctlPids, "pids.current\x00"},
		pidsMax:        {ctlPids, "pids.max\x00"},
		pressureCPU:    {ctlUnified, "cpu.pressure\x00"}, // Linux 4.20
		pressureMemory: {ctlUnified, "memory.pressure\x00"},
		pressureIO:     {ctlUnified, "io.pressure\x00"},
	}
	for i := range blkioFiles {
		for _, name := range blkioFiles[i].names {
			t = append(t, place{ctlBlkio, name})
		}
	}
	return t
}()

// errVanished says that the cgroup is no more.
var errVanished = errors.New("the cgroup has vanished")

// get reads a file of a cgroup. There is no text and no error for a file that this kernel doesn't have.
func (in *input) get(g *cgroup, id fileID) ([]byte, error) {
	place, f := &fileTable[id], &g.files[id]
	dir := g.folders[place.in]
	if dir.fd == 0 || f.absent {
		return nil, nil
	}
	data, err := in.reader.read(dir, f, place.name)
	switch {
	case err == nil:
		return data, nil
	case errors.Is(err, unix.ENOENT) && g.alive(place.in), errors.Is(err, unix.EOPNOTSUPP): // the latter of pressure that is switched off
		in.reader.close(f)
		f.absent = true
		return nil, nil
	case vanished(err):
		return nil, errVanished
	}
	in.bad(&unixError{in.roots.roots[place.in] + g.path, place.name, err})
	return nil, nil
}

// value reads a file that holds one number. ok is false when this kernel doesn't have it or it can't be understood.
func (in *input) value(g *cgroup, id fileID) (v uint64, ok bool, err error) {
	data, err := in.get(g, id)
	if err != nil || data == nil {
		return 0, false, err
	}
	if v, ok = parseValue(data); !ok {
		in.badText(g, id, data)
	}
	return v, ok, nil
}

// badText notes that a file could not be understood.
func (in *input) badText(g *cgroup, id fileID, text []byte) {
	place := &fileTable[id]
	in.bad(badFile(in.roots.roots[place.in]+g.path, place.name, text))
}

// bad notes the first fault of a collection.
func (in *input) bad(err error) {
	if in.fault == nil {
		in.fault = err
	}
}

type unixError struct {
	dir  string
	name fileName
	err  error
}

func (e *unixError) Error() string {
	return "read " + e.dir + "/" + string(e.name[:len(e.name)-1]) + ": " + e.err.Error()
}
func (e *unixError) Unwrap() error { return e.err }
