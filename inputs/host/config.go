package host

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/pipeline/config"
)

// Config is what a user writes in the block; the comments are the reference page.
type Config struct {
	// Where the host's /proc is. In a container it is looked for at /host/proc and /rootfs/proc, else it is /proc.
	Procfs string `hcl:"procfs,optional"`
	// Where the host's /sys is. In a container it is looked for at /host/sys and /rootfs/sys, else it is /sys.
	Sysfs string `hcl:"sysfs,optional"`
	// Where the host's root is. In a container it is looked for at /rootfs, /host/root, /hostfs and /host, else it is /.
	Rootfs string `hcl:"rootfs,optional"`
	// The collectors to run, all by default: cpu, meminfo, loadavg, diskstats, filesystem, netdev, netstat, sockstat, stat, uname, time,
	// vmstat, pressure, filefd, os.
	Collect []string `hcl:"collect,optional"`

	// What the filesystem collector shows.
	Filesystem FilesystemConfig `hcl:"filesystem,block"`
	// What the netdev collector shows.
	Netdev NetdevConfig `hcl:"netdev,block"`
	// What the diskstats collector shows.
	Diskstats DiskstatsConfig `hcl:"diskstats,block"`
	// What the netstat collector shows.
	Netstat NetstatConfig `hcl:"netstat,block"`
	// What the vmstat collector shows.
	Vmstat VmstatConfig `hcl:"vmstat,block"`
}

// FilesystemConfig chooses mounts.
type FilesystemConfig struct {
	// Mount points to leave out. An include replaces the default.
	MountPointsExclude config.Regexp `hcl:"mount_points_exclude,optional"`
	// Mount points to show, in place of all but the excluded ones.
	MountPointsInclude config.Regexp `hcl:"mount_points_include,optional"`
	// Types of filesystems to leave out. An include replaces the default.
	FSTypesExclude config.Regexp `hcl:"fs_types_exclude,optional"`
	// Types of filesystems to show, in place of all but the excluded ones.
	FSTypesInclude config.Regexp `hcl:"fs_types_include,optional"`
	// How long a mount may take to answer before it counts as dead: node_filesystem_device_error is then 1 until it answers.
	MountTimeout config.Duration `hcl:"mount_timeout,optional"`
}

// NetdevConfig chooses network devices.
type NetdevConfig struct {
	// Devices to leave out.
	DeviceExclude config.Regexp `hcl:"device_exclude,optional"`
	// Devices to show, in place of all.
	DeviceInclude config.Regexp `hcl:"device_include,optional"`
}

// DiskstatsConfig chooses block devices.
type DiskstatsConfig struct {
	// Devices to leave out: partitions, RAM disks and loop devices by default. An include replaces the default.
	DeviceExclude config.Regexp `hcl:"device_exclude,optional"`
	// Devices to show, in place of all but the excluded ones.
	DeviceInclude config.Regexp `hcl:"device_include,optional"`
	// Folder of udev's database, from which a disk's model and serial number come: run/udev/data below rootfs by default.
	UdevData string `hcl:"udev_data,optional"`
}

// NetstatConfig chooses protocol statistics.
type NetstatConfig struct {
	// Fields to show, as protocol_name: "Tcp_InSegs".
	Fields config.Regexp `hcl:"fields,optional"`
}

// VmstatConfig chooses fields of /proc/vmstat.
type VmstatConfig struct {
	// Fields to show.
	Fields config.Regexp `hcl:"fields,optional"`
}

// The default patterns are node_exporter's.
const (
	defaultMountPointsExclude = `^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)`
	defaultFSTypesExclude     = `^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|` +
		`overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$`
	defaultDisksExclude  = `^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`
	defaultNetstatFields = `^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|` +
		`TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|` +
		`Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|` +
		`Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$`
	defaultVmstatFields = `^(oom_kill|pgpg|pswp|pg.*fault).*`
	defaultMountTimeout = 5 * time.Second
)

func defaults() Config {
	pattern := func(s string) config.Regexp { return config.Regexp{Regexp: regexp.MustCompile(s)} }
	return Config{
		Collect: []string{"cpu", "meminfo", "loadavg", "diskstats", "filesystem", "netdev", "netstat", "sockstat", "stat", "uname", "time",
			"vmstat", "pressure", "filefd", "os"},
		Filesystem: FilesystemConfig{
			MountPointsExclude: pattern(defaultMountPointsExclude),
			FSTypesExclude:     pattern(defaultFSTypesExclude),
			MountTimeout:       config.Duration(defaultMountTimeout),
		},
		Diskstats: DiskstatsConfig{DeviceExclude: pattern(defaultDisksExclude)},
		Netstat:   NetstatConfig{Fields: pattern(defaultNetstatFields)},
		Vmstat:    VmstatConfig{Fields: pattern(defaultVmstatFields)},
	}
}

// Validate implements config.Validator.
func (c *Config) Validate() []error {
	var errs []error
	known := defaults().Collect
	for _, name := range c.Collect {
		if !slices.Contains(known, name) {
			errs = append(errs, config.Attr("collect", fmt.Errorf("there is no collector %q; the collectors are %s", name, strings.Join(known, ", "))))
		}
	}
	if len(c.Collect) == 0 {
		errs = append(errs, config.Attr("collect", errors.New("the list is empty; leave the attribute out to run all collectors")))
	}
	if c.Filesystem.MountTimeout <= 0 {
		errs = append(errs, config.Attr("filesystem.mount_timeout", errors.New("must be longer than 0s")))
	}
	for _, f := range [...]struct {
		attr             string
		exclude, include config.Regexp
		standard         string
	}{
		{"filesystem.mount_points_include", c.Filesystem.MountPointsExclude, c.Filesystem.MountPointsInclude, defaultMountPointsExclude},
		{"filesystem.fs_types_include", c.Filesystem.FSTypesExclude, c.Filesystem.FSTypesInclude, defaultFSTypesExclude},
		{"netdev.device_include", c.Netdev.DeviceExclude, c.Netdev.DeviceInclude, ""},
		{"diskstats.device_include", c.Diskstats.DeviceExclude, c.Diskstats.DeviceInclude, defaultDisksExclude},
	} {
		if given(f.include) && given(f.exclude) && f.exclude.String() != f.standard {
			errs = append(errs, config.Attr(f.attr, fmt.Errorf("an include and an exclude don't go together; write only %s",
				f.attr[strings.IndexByte(f.attr, '.')+1:])))
		}
	}
	return errs
}

// given says whether the user, or a default, set a pattern; "" is a way to take a default away.
func given(r config.Regexp) bool { return r.Regexp != nil && r.String() != "" }

// filter decides which devices are shown.
type filter struct{ exclude, include *regexp.Regexp }

// newFilter makes a filter. An include takes the place of an exclude.
func newFilter(exclude, include config.Regexp) filter {
	switch {
	case given(include):
		return filter{include: include.Regexp}
	case given(exclude):
		return filter{exclude: exclude.Regexp}
	}
	return filter{}
}

func (f filter) ignores(name string) bool {
	return f.exclude != nil && f.exclude.MatchString(name) || f.include != nil && !f.include.MatchString(name)
}
