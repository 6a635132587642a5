// Package cadvisor describes what cAdvisor exposes (google/cadvisor 0.60, lib/metrics): the families that it gives by default, with their
// types and help texts, and how labels of a container become labels of series. Several inputs give these names.
package cadvisor

import (
	"fmt"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Families are the descriptions by name.
type Families map[string]*metrics.Desc

// New makes the descriptions for one input.
func New() Families {
	list := families()
	f := make(Families, len(list))
	for i := range list {
		f[list[i].Name] = &list[i]
	}
	return f
}

// Desc is the description of the family of that name. A name that cAdvisor doesn't have is a fault in the calling code and panics.
func (f Families) Desc(name string) *metrics.Desc {
	d := f[name]
	if d == nil {
		panic(fmt.Sprintf("cAdvisor has no family %q", name))
	}
	return d
}

func counter(name, help string) metrics.Desc { return desc(name, help, metrics.Counter) }
func gauge(name, help string) metrics.Desc   { return desc(name, help, metrics.Gauge) }

func desc(name, help string, kind metrics.Kind) metrics.Desc {
	d := metrics.Desc{Name: name, Help: help, Kind: kind}
	for _, unit := range [...]string{"seconds", "bytes", "watts"} {
		if strings.HasSuffix(strings.TrimSuffix(name, "_total"), "_"+unit) {
			d.Unit = unit
		}
	}
	return d
}

func families() []metrics.Desc {
	return []metrics.Desc{
		// What a container is and may use.
		gauge("container_creation_time_seconds", "Container creation time since unix epoch in seconds."),
		gauge("container_start_time_seconds", "Start time of the container since unix epoch in seconds."),
		gauge("container_spec_cpu_period", "CPU period of the container."),
		gauge("container_spec_cpu_quota", "CPU quota of the container."),
		gauge("container_spec_cpu_shares", "CPU share of the container."),
		gauge("container_spec_memory_limit_bytes", "Memory limit for the container."),
		gauge("container_spec_memory_swap_limit_bytes", "Memory swap limit for the container."),
		gauge("container_spec_memory_reservation_limit_bytes", "Memory reservation limit for the container."),
		// Whether it is there.
		gauge("container_last_seen", "Last time a container was seen by the exporter"),
		gauge("container_health_state", "The result of the container's health check"),
		gauge("container_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise"),
		// CPU.
		counter("container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds."),
		counter("container_cpu_system_seconds_total", "Cumulative system cpu time consumed in seconds."),
		counter("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds."),
		counter("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals."),
		counter("container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals."),
		counter("container_cpu_cfs_throttled_seconds_total", "Total time duration the container has been throttled."),
		counter("container_cpu_cfs_burst_periods_total", "Number of periods when burst occurs."),
		counter("container_cpu_cfs_burst_seconds_total", "Total time duration the container has been bursted."),
		// Load.
		gauge("container_cpu_load_average_10s", "Value of container cpu load average over the last 10 seconds."),
		gauge("container_cpu_load_d_average_10s", "Value of container cpu load.d average over the last 10 seconds."),
		gauge("container_tasks_state", "Number of tasks in given state"),
		// Memory.
		gauge("container_memory_cache", "Number of bytes of page cache memory."),
		gauge("container_memory_rss", "Size of RSS in bytes."),
		gauge("container_memory_kernel_usage", "Size of kernel memory allocated in bytes."),
		gauge("container_memory_mapped_file", "Size of memory mapped files in bytes."),
		gauge("container_memory_swap", "Container swap usage in bytes."),
		counter("container_memory_failcnt", "Number of memory usage hits limits"),
		gauge("container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed"),
		gauge("container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes"),
		gauge("container_memory_working_set_bytes", "Current working set in bytes."),
		gauge("container_memory_total_active_file_bytes", "Current total active file in bytes."),
		gauge("container_memory_total_inactive_file_bytes", "Current total inactive file in bytes."),
		counter("container_memory_failures_total", "Cumulative count of memory allocation failures."),
		counter("container_memory_events_high_total", "Cumulative count of memory.high throttle events for the container"),
		counter("container_memory_events_max_total", "Cumulative count of memory.max limit hit events for the container"),
		gauge("container_memory_file_dirty_bytes", "Number of bytes of file cache that has been modified but not yet written back to disk."),
		gauge("container_memory_file_writeback_bytes", "Number of bytes of file cache that is currently being written back to disk."),
		counter("container_memory_pgscan_total", "Cumulative number of pages scanned by the page reclaim algorithm."),
		counter("container_memory_pgsteal_total", "Cumulative number of pages reclaimed by the page reclaim algorithm."),
		counter("container_memory_workingset_refault_file_total", "Cumulative number of refaults of previously evicted file pages."),
		counter("container_memory_workingset_refault_anon_total", "Cumulative number of refaults of previously evicted anonymous pages."),
		// Filesystems.
		gauge("container_fs_inodes_free", "Number of available Inodes"),
		gauge("container_fs_inodes_total", "Number of Inodes"),
		gauge("container_fs_limit_bytes", "Number of bytes that can be consumed by the container on this filesystem."),
		gauge("container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem."),
		// Block I/O.
		counter("container_fs_reads_bytes_total", "Cumulative count of bytes read"),
		counter("container_fs_reads_total", "Cumulative count of reads completed"),
		counter("container_fs_sector_reads_total", "Cumulative count of sector reads completed"),
		counter("container_fs_reads_merged_total", "Cumulative count of reads merged"),
		counter("container_fs_read_seconds_total", "Cumulative count of seconds spent reading"),
		counter("container_fs_writes_bytes_total", "Cumulative count of bytes written"),
		counter("container_fs_writes_total", "Cumulative count of writes completed"),
		counter("container_fs_sector_writes_total", "Cumulative count of sector writes completed"),
		counter("container_fs_writes_merged_total", "Cumulative count of writes merged"),
		counter("container_fs_write_seconds_total", "Cumulative count of seconds spent writing"),
		gauge("container_fs_io_current", "Number of I/Os currently in progress"),
		counter("container_fs_io_time_seconds_total", "Cumulative count of seconds spent doing I/Os"),
		counter("container_fs_io_time_weighted_seconds_total", "Cumulative weighted I/O time in seconds"),
		counter("container_fs_io_cost_usage_seconds_total", "Cumulative IOCost usage in seconds"),
		counter("container_fs_io_cost_wait_seconds_total", "Cumulative IOCost wait in seconds"),
		counter("container_fs_io_cost_indebt_seconds_total", "Cumulative IOCost debt in seconds"),
		counter("container_fs_io_cost_indelay_seconds_total", "Cumulative IOCost delay in seconds"),
		counter("container_blkio_device_usage_total", "Blkio Device bytes usage"),
		// Network.
		counter("container_network_receive_bytes_total", "Cumulative count of bytes received"),
		counter("container_network_receive_packets_total", "Cumulative count of packets received"),
		counter("container_network_receive_packets_dropped_total", "Cumulative count of packets dropped while receiving"),
		counter("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving"),
		counter("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted"),
		counter("container_network_transmit_packets_total", "Cumulative count of packets transmitted"),
		counter("container_network_transmit_packets_dropped_total", "Cumulative count of packets dropped while transmitting"),
		counter("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting"),
		// Out of memory.
		counter("container_oom_events_total", "Count of out of memory events observed for the container"),
		// Pressure.
		counter("container_pressure_cpu_stalled_seconds_total", "Total time duration no tasks in the container could make progress due to CPU congestion."),
		counter("container_pressure_cpu_waiting_seconds_total", "Total time duration tasks in the container have waited due to CPU congestion."),
		counter("container_pressure_memory_stalled_seconds_total", "Total time duration no tasks in the container could make progress due to memory congestion."),
		counter("container_pressure_memory_waiting_seconds_total", "Total time duration tasks in the container have waited due to memory congestion."),
		counter("container_pressure_io_stalled_seconds_total", "Total time duration no tasks in the container could make progress due to IO congestion."),
		counter("container_pressure_io_waiting_seconds_total", "Total time duration tasks in the container have waited due to IO congestion."),
		// The machine.
		gauge("machine_cpu_physical_cores", "Number of physical CPU cores."),
		gauge("machine_cpu_cores", "Number of logical CPU cores."),
		gauge("machine_cpu_sockets", "Number of CPU sockets."),
		gauge("machine_cpu_books", "Number of CPU books."),
		gauge("machine_cpu_drawers", "Number of CPU drawers."),
		gauge("machine_memory_bytes", "Amount of memory installed on the machine."),
		gauge("machine_swap_bytes", "Amount of swap memory available on the machine."),
		gauge("machine_dimm_count", "Number of RAM DIMM (all types memory modules) value labeled by dimm type."),
		gauge("machine_dimm_capacity_bytes", "Total RAM DIMM capacity (all types memory modules) value labeled by dimm type."),
		gauge("machine_nvm_capacity", "NVM capacity value labeled by NVM mode (memory mode or app direct mode)."),
		gauge("machine_nvm_avg_power_budget_watts", "NVM power budget."),
		gauge("machine_cpu_cache_capacity_bytes", "Cache size in bytes assigned to NUMA node and CPU core."),
		gauge("machine_thread_siblings_count", "Number of CPU thread siblings."),
		gauge("machine_node_memory_capacity_bytes", "Amount of memory assigned to NUMA node."),
		gauge("machine_node_hugepages_count", "Numer of hugepages assigned to NUMA node."),
		gauge("machine_node_distance", "Distance between NUMA node and target NUMA node."),
		gauge("machine_scrape_error", "1 if there was an error while getting machine metrics, 0 otherwise."),
		// cAdvisor itself.
		gauge("cadvisor_version_info", "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & cadvisor revision."),
	}
}
