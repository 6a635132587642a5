package containers

import (
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Names, types and help texts are cAdvisor's to the letter (google/cadvisor 0.60, lib/metrics/prometheus.go).

// number is a series that every container has once.
type number int

const (
	creationTime number = iota
	startTime
	specPeriod
	specQuota
	specShares
	specMemory
	specSwap
	specReservation
	lastSeen
	healthState
	cpuUser
	cpuSystem
	cfsPeriods
	cfsThrottled
	cfsThrottledTime
	cfsBursts
	cfsBurstTime
	load
	loadD
	tasksSleeping
	tasksRunning
	tasksStopped
	tasksUninterruptible
	tasksIowaiting
	memCache
	memRSS
	memKernel
	memMapped
	memSwap
	memFailcnt
	memUsage
	memMax
	memWorkingSet
	memActiveFile
	memInactiveFile
	failPgfaultContainer
	failPgfaultHierarchy
	failPgmajfaultContainer
	failPgmajfaultHierarchy
	memHigh
	memAtMax
	memDirty
	memWriteback
	memScan
	memSteal
	memRefaultFile
	memRefaultAnon
	oomEvents
	pressCPUStalled
	pressCPUWaiting
	pressMemoryStalled
	pressMemoryWaiting
	pressIOStalled
	pressIOWaiting
	threads
	threadsMax
	restarts
	numbers
)

// numberDescs are the families of the numbers, by number; numberLabels the labels that tell those of one family apart.
var (
	numberDescs = [numbers]*metrics.Desc{
		creationTime:            desc("container_creation_time_seconds", "Container creation time since unix epoch in seconds.", metrics.Gauge),
		startTime:               desc("container_start_time_seconds", "Start time of the container since unix epoch in seconds.", metrics.Gauge),
		specPeriod:              desc("container_spec_cpu_period", "CPU period of the container.", metrics.Gauge),
		specQuota:               desc("container_spec_cpu_quota", "CPU quota of the container.", metrics.Gauge),
		specShares:              desc("container_spec_cpu_shares", "CPU share of the container.", metrics.Gauge),
		specMemory:              desc("container_spec_memory_limit_bytes", "Memory limit for the container.", metrics.Gauge),
		specSwap:                desc("container_spec_memory_swap_limit_bytes", "Memory swap limit for the container.", metrics.Gauge),
		specReservation:         desc("container_spec_memory_reservation_limit_bytes", "Memory reservation limit for the container.", metrics.Gauge),
		lastSeen:                desc("container_last_seen", "Last time a container was seen by the exporter", metrics.Gauge),
		healthState:             desc("container_health_state", "The result of the container's health check", metrics.Gauge),
		cpuUser:                 desc("container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds.", metrics.Counter),
		cpuSystem:               desc("container_cpu_system_seconds_total", "Cumulative system cpu time consumed in seconds.", metrics.Counter),
		cfsPeriods:              desc("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", metrics.Counter),
		cfsThrottled:            desc("container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.", metrics.Counter),
		cfsThrottledTime:        desc("container_cpu_cfs_throttled_seconds_total", "Total time duration the container has been throttled.", metrics.Counter),
		cfsBursts:               desc("container_cpu_cfs_burst_periods_total", "Number of periods when burst occurs.", metrics.Counter),
		cfsBurstTime:            desc("container_cpu_cfs_burst_seconds_total", "Total time duration the container has been bursted.", metrics.Counter),
		load:                    desc("container_cpu_load_average_10s", "Value of container cpu load average over the last 10 seconds.", metrics.Gauge),
		loadD:                   desc("container_cpu_load_d_average_10s", "Value of container cpu load.d average over the last 10 seconds.", metrics.Gauge),
		tasksSleeping:           tasksDesc,
		tasksRunning:            tasksDesc,
		tasksStopped:            tasksDesc,
		tasksUninterruptible:    tasksDesc,
		tasksIowaiting:          tasksDesc,
		memCache:                desc("container_memory_cache", "Number of bytes of page cache memory.", metrics.Gauge),
		memRSS:                  desc("container_memory_rss", "Size of RSS in bytes.", metrics.Gauge),
		memKernel:               desc("container_memory_kernel_usage", "Size of kernel memory allocated in bytes.", metrics.Gauge),
		memMapped:               desc("container_memory_mapped_file", "Size of memory mapped files in bytes.", metrics.Gauge),
		memSwap:                 desc("container_memory_swap", "Container swap usage in bytes.", metrics.Gauge),
		memFailcnt:              desc("container_memory_failcnt", "Number of memory usage hits limits", metrics.Counter),
		memUsage:                desc("container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed", metrics.Gauge),
		memMax:                  desc("container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes", metrics.Gauge),
		memWorkingSet:           desc("container_memory_working_set_bytes", "Current working set in bytes.", metrics.Gauge),
		memActiveFile:           desc("container_memory_total_active_file_bytes", "Current total active file in bytes.", metrics.Gauge),
		memInactiveFile:         desc("container_memory_total_inactive_file_bytes", "Current total inactive file in bytes.", metrics.Gauge),
		failPgfaultContainer:    failuresDesc,
		failPgfaultHierarchy:    failuresDesc,
		failPgmajfaultContainer: failuresDesc,
		failPgmajfaultHierarchy: failuresDesc,
		memHigh:                 desc("container_memory_events_high_total", "Cumulative count of memory.high throttle events for the container", metrics.Counter),
		memAtMax:                desc("container_memory_events_max_total", "Cumulative count of memory.max limit hit events for the container", metrics.Counter),
		memDirty:                desc("container_memory_file_dirty_bytes", "Number of bytes of file cache that has been modified but not yet written back to disk.", metrics.Gauge),
		memWriteback:            desc("container_memory_file_writeback_bytes", "Number of bytes of file cache that is currently being written back to disk.", metrics.Gauge),
		memScan:                 desc("container_memory_pgscan_total", "Cumulative number of pages scanned by the page reclaim algorithm.", metrics.Counter),
		memSteal:                desc("container_memory_pgsteal_total", "Cumulative number of pages reclaimed by the page reclaim algorithm.", metrics.Counter),
		memRefaultFile:          desc("container_memory_workingset_refault_file_total", "Cumulative number of refaults of previously evicted file pages.", metrics.Counter),
		memRefaultAnon:          desc("container_memory_workingset_refault_anon_total", "Cumulative number of refaults of previously evicted anonymous pages.", metrics.Counter),
		oomEvents:               desc("container_oom_events_total", "Count of out of memory events observed for the container", metrics.Counter),
		pressCPUStalled:         desc("container_pressure_cpu_stalled_seconds_total", "Total time duration no tasks in the container could make progress due to CPU congestion.", metrics.Counter),
		pressCPUWaiting:         desc("container_pressure_cpu_waiting_seconds_total", "Total time duration tasks in the container have waited due to CPU congestion.", metrics.Counter),
		pressMemoryStalled:      desc("container_pressure_memory_stalled_seconds_total", "Total time duration no tasks in the container could make progress due to memory congestion.", metrics.Counter),
		pressMemoryWaiting:      desc("container_pressure_memory_waiting_seconds_total", "Total time duration tasks in the container have waited due to memory congestion.", metrics.Counter),
		pressIOStalled:          desc("container_pressure_io_stalled_seconds_total", "Total time duration no tasks in the container could make progress due to IO congestion.", metrics.Counter),
		pressIOWaiting:          desc("container_pressure_io_waiting_seconds_total", "Total time duration tasks in the container have waited due to IO congestion.", metrics.Counter),
		threads:                 desc("container_threads", "Number of threads running inside the container", metrics.Gauge),
		threadsMax:              desc("container_threads_max", "Maximum number of threads allowed inside the container, infinity if value is zero", metrics.Gauge),
		restarts:                desc("container_restarts_total", "How often the engine has restarted the container by its restart policy.", metrics.Counter),
	}
	numberLabels = [numbers][]string{
		tasksSleeping:           {"state", "sleeping"},
		tasksRunning:            {"state", "running"},
		tasksStopped:            {"state", "stopped"},
		tasksUninterruptible:    {"state", "uninterruptible"},
		tasksIowaiting:          {"state", "iowaiting"},
		failPgfaultContainer:    {"failure_type", "pgfault", "scope", "container"},
		failPgfaultHierarchy:    {"failure_type", "pgfault", "scope", "hierarchy"},
		failPgmajfaultContainer: {"failure_type", "pgmajfault", "scope", "container"},
		failPgmajfaultHierarchy: {"failure_type", "pgmajfault", "scope", "hierarchy"},
	}
)

// fsFamily is a number of a filesystem or a block device.
type fsFamily int

const (
	fsInodesFree fsFamily = iota
	fsInodes
	fsLimit
	fsUsageBytes
	fsReadBytes
	fsReads
	fsSectorReads
	fsReadsMerged
	fsReadSeconds
	fsWriteBytes
	fsWrites
	fsSectorWrites
	fsWritesMerged
	fsWriteSeconds
	fsIONow
	fsIOTime
	fsIOTimeWeighted
	fsCostUsage
	fsCostWait
	fsCostIndebt
	fsCostIndelay
	fsFamilies
)

var fsDescs = [fsFamilies]*metrics.Desc{
	fsInodesFree:     desc("container_fs_inodes_free", "Number of available Inodes", metrics.Gauge),
	fsInodes:         desc("container_fs_inodes_total", "Number of Inodes", metrics.Gauge),
	fsLimit:          desc("container_fs_limit_bytes", "Number of bytes that can be consumed by the container on this filesystem.", metrics.Gauge),
	fsUsageBytes:     desc("container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem.", metrics.Gauge),
	fsReadBytes:      desc("container_fs_reads_bytes_total", "Cumulative count of bytes read", metrics.Counter),
	fsReads:          desc("container_fs_reads_total", "Cumulative count of reads completed", metrics.Counter),
	fsSectorReads:    desc("container_fs_sector_reads_total", "Cumulative count of sector reads completed", metrics.Counter),
	fsReadsMerged:    desc("container_fs_reads_merged_total", "Cumulative count of reads merged", metrics.Counter),
	fsReadSeconds:    desc("container_fs_read_seconds_total", "Cumulative count of seconds spent reading", metrics.Counter),
	fsWriteBytes:     desc("container_fs_writes_bytes_total", "Cumulative count of bytes written", metrics.Counter),
	fsWrites:         desc("container_fs_writes_total", "Cumulative count of writes completed", metrics.Counter),
	fsSectorWrites:   desc("container_fs_sector_writes_total", "Cumulative count of sector writes completed", metrics.Counter),
	fsWritesMerged:   desc("container_fs_writes_merged_total", "Cumulative count of writes merged", metrics.Counter),
	fsWriteSeconds:   desc("container_fs_write_seconds_total", "Cumulative count of seconds spent writing", metrics.Counter),
	fsIONow:          desc("container_fs_io_current", "Number of I/Os currently in progress", metrics.Gauge),
	fsIOTime:         desc("container_fs_io_time_seconds_total", "Cumulative count of seconds spent doing I/Os", metrics.Counter),
	fsIOTimeWeighted: desc("container_fs_io_time_weighted_seconds_total", "Cumulative weighted I/O time in seconds", metrics.Counter),
	fsCostUsage:      desc("container_fs_io_cost_usage_seconds_total", "Cumulative IOCost usage in seconds", metrics.Counter),
	fsCostWait:       desc("container_fs_io_cost_wait_seconds_total", "Cumulative IOCost wait in seconds", metrics.Counter),
	fsCostIndebt:     desc("container_fs_io_cost_indebt_seconds_total", "Cumulative IOCost debt in seconds", metrics.Counter),
	fsCostIndelay:    desc("container_fs_io_cost_indelay_seconds_total", "Cumulative IOCost delay in seconds", metrics.Counter),
}

// networkDescs are the numbers of an interface, in the order of parseInterface.
var networkDescs = [interfaceFields]*metrics.Desc{
	desc("container_network_receive_bytes_total", "Cumulative count of bytes received", metrics.Counter),
	desc("container_network_receive_packets_total", "Cumulative count of packets received", metrics.Counter),
	desc("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", metrics.Counter),
	desc("container_network_receive_packets_dropped_total", "Cumulative count of packets dropped while receiving", metrics.Counter),
	desc("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", metrics.Counter),
	desc("container_network_transmit_packets_total", "Cumulative count of packets transmitted", metrics.Counter),
	desc("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting", metrics.Counter),
	desc("container_network_transmit_packets_dropped_total", "Cumulative count of packets dropped while transmitting", metrics.Counter),
}

var (
	tasksDesc    = desc("container_tasks_state", "Number of tasks in given state", metrics.Gauge)
	failuresDesc = desc("container_memory_failures_total", "Cumulative count of memory allocation failures.", metrics.Counter)
	cpuUsage     = desc("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", metrics.Counter)
	blkioUsage   = desc("container_blkio_device_usage_total", "Blkio Device bytes usage", metrics.Counter)
	// Those that cAdvisor doesn't have.
	stateDesc = desc("container_state", "The state that the engine gives the container; the value is 1.", metrics.Gauge)
	fsAge     = desc("container_fs_usage_age_seconds", "How long ago container_fs_usage_bytes and container_fs_inodes_total of the container were counted.", metrics.Gauge)
)

func desc(name, help string, kind metrics.Kind) *metrics.Desc {
	d := &metrics.Desc{Name: name, Help: help, Kind: kind}
	for _, unit := range [...]string{"seconds", "bytes", "watts"} {
		if strings.HasSuffix(strings.TrimSuffix(name, "_total"), "_"+unit) {
			d.Unit = unit
		}
	}
	return d
}
