package ecs

import (
	"bytes"
	"math"
	"strconv"
	"strings"
)

// Stats are the numbers of a container as Docker's API gives them (https://docs.docker.com/reference/api/engine, GET /containers/ID/stats), as
// far as they are used.
type Stats struct {
	Read string `json:"read"` // when; "" or the year 1 for a container that doesn't run
	CPU  struct {
		Usage struct {
			Total  Number    `json:"total_usage"` // nanoseconds, as the ones below
			Kernel Number    `json:"usage_in_kernelmode"`
			User   Number    `json:"usage_in_usermode"`
			PerCPU []float64 `json:"percpu_usage"` // cgroup v1 only
		} `json:"cpu_usage"`
		Throttling struct {
			Periods          float64 `json:"periods"`
			ThrottledPeriods float64 `json:"throttled_periods"`
			ThrottledTime    float64 `json:"throttled_time"` // nanoseconds
		} `json:"throttling_data"`
	} `json:"cpu_stats"`
	Memory struct {
		Usage    Number     `json:"usage"`
		MaxUsage Number     `json:"max_usage"` // cgroup v1 only
		Failcnt  float64    `json:"failcnt"`   // cgroup v1; left out when 0
		Stats    MemoryStat `json:"stats"`
	} `json:"memory_stats"`
	Blkio struct {
		Bytes      []BlkioEntry `json:"io_service_bytes_recursive"`
		Operations []BlkioEntry `json:"io_serviced_recursive"` // cgroup v1 only
	} `json:"blkio_stats"`
	Networks map[string]Interface `json:"networks"`
}

// Number is a number that may be missing. One that isn't a number at all counts as missing.
type Number struct {
	Value float64
	Set   bool
}

// UnmarshalJSON reads a number, in quotes too.
func (n *Number) UnmarshalJSON(text []byte) error {
	if v, err := strconv.ParseFloat(string(bytes.Trim(text, `"`)), 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
		*n = Number{v, true}
	}
	return nil
}

// MemoryStat is the container's memory.stat. What the kernel doesn't give isn't set.
type MemoryStat struct {
	// Of cgroup v1 and v2.
	ActiveFile   Number `json:"active_file"`
	InactiveFile Number `json:"inactive_file"`
	Pgfault      Number `json:"pgfault"`
	Pgmajfault   Number `json:"pgmajfault"`
	// Of cgroup v1. Those that begin with total count the cgroups below as well.
	Cache             Number `json:"cache"`
	RSS               Number `json:"rss"`
	Swap              Number `json:"swap"`
	MappedFile        Number `json:"mapped_file"`
	TotalCache        Number `json:"total_cache"`
	TotalRSS          Number `json:"total_rss"`
	TotalSwap         Number `json:"total_swap"`
	TotalMappedFile   Number `json:"total_mapped_file"`
	TotalActiveFile   Number `json:"total_active_file"`
	TotalInactiveFile Number `json:"total_inactive_file"`
	TotalPgfault      Number `json:"total_pgfault"`
	TotalPgmajfault   Number `json:"total_pgmajfault"`
	// Of cgroup v2.
	Anon          Number `json:"anon"`
	File          Number `json:"file"`
	FileMapped    Number `json:"file_mapped"`
	FileDirty     Number `json:"file_dirty"`
	FileWriteback Number `json:"file_writeback"`
	Pgscan        Number `json:"pgscan"`
	Pgsteal       Number `json:"pgsteal"`
	RefaultFile   Number `json:"workingset_refault_file"`
	RefaultAnon   Number `json:"workingset_refault_anon"`
}

// BlkioEntry counts the operations of one kind on one block device. Op is Read, Write, Sync, ... on cgroup v1 and read, write on v2.
type BlkioEntry struct {
	Major uint64  `json:"major"`
	Minor uint64  `json:"minor"`
	Op    string  `json:"op"`
	Value float64 `json:"value"`
}

// Interface are the counters of a network interface.
type Interface struct {
	RxBytes   float64 `json:"rx_bytes"`
	RxPackets float64 `json:"rx_packets"`
	RxErrors  float64 `json:"rx_errors"`
	RxDropped float64 `json:"rx_dropped"`
	TxBytes   float64 `json:"tx_bytes"`
	TxPackets float64 `json:"tx_packets"`
	TxErrors  float64 `json:"tx_errors"`
	TxDropped float64 `json:"tx_dropped"`
}

// given says that there are numbers: a container that has ended has null, or an object with nothing in it.
func (s *Stats) given() bool { return s != nil && s.Read != "" && !strings.HasPrefix(s.Read, "0001-") }

// V2 says that the numbers come from cgroup v2.
func (s *Stats) V2() bool { return s.Memory.Stats.Anon.Set }

// CacheBytes is the page cache.
func (m *MemoryStat) CacheBytes() Number { return first(m.TotalCache, m.Cache, m.File) }

// RSSBytes is the anonymous memory.
func (m *MemoryStat) RSSBytes() Number { return first(m.TotalRSS, m.RSS, m.Anon) }

// MappedBytes is the page cache that is mapped into processes.
func (m *MemoryStat) MappedBytes() Number {
	return first(m.TotalMappedFile, m.MappedFile, m.FileMapped)
}

// SwapBytes is what is swapped out; cgroup v2 doesn't say it here.
func (m *MemoryStat) SwapBytes() Number { return first(m.TotalSwap, m.Swap) }

// ActiveFileBytes is the page cache that was used lately.
func (m *MemoryStat) ActiveFileBytes() Number { return first(m.TotalActiveFile, m.ActiveFile) }

// InactiveFileBytes is the page cache that the kernel takes first when memory gets short.
func (m *MemoryStat) InactiveFileBytes() Number { return first(m.TotalInactiveFile, m.InactiveFile) }

// WorkingSet is the memory in use less what the kernel takes first when it gets short: usage - inactive_file, and at least 0. It is what cAdvisor,
// and Kubernetes after it, call so. false when there is no usage.
func (s *Stats) WorkingSet() (bytes float64, known bool) {
	// An inactive_file that is missing is 0.
	return max(0, s.Memory.Usage.Value-s.Memory.Stats.InactiveFileBytes().Value), s.Memory.Usage.Set
}

// first is the first that is there.
func first(values ...Number) Number {
	for _, v := range values {
		if v.Set {
			return v
		}
	}
	return Number{}
}
