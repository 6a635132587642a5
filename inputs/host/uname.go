package host

import (
	"context"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// uname is what uname(2) says. A container has a host's name of its own, so there the nodename is the machine's as the agent found it.
type uname struct {
	ask      func(*unix.Utsname) error
	nodename string // "" to take what the kernel says
	series   *metrics.Registry
	desc     *metrics.Desc
	now      unix.Utsname // filled by ask
	last     unix.Utsname // that info was made of
	info     *metrics.Series
}

func newUname(m *machine) *uname {
	c := &uname{
		ask: unix.Uname, series: m.series,
		desc: gauge("node_uname_info", "Labeled system information as provided by the uname system call."),
	}
	if m.host.Container {
		c.nodename = m.host.Name
	}
	return c
}

func (c *uname) collect(_ context.Context, b *metrics.Batch) error {
	if err := c.ask(&c.now); err != nil {
		return err
	}
	if now := &c.now; c.info == nil || *now != c.last {
		c.last = *now
		text := func(b []byte) string { return strings.ToValidUTF8(unix.ByteSliceToString(b), "\uFFFD") }
		nodename := c.nodename
		if nodename == "" {
			nodename = text(now.Nodename[:])
		}
		c.info = c.series.New(c.desc, "sysname", text(now.Sysname[:]), "release", text(now.Release[:]), "version", text(now.Version[:]),
			"machine", text(now.Machine[:]), "nodename", nodename, "domainname", text(now.Domainname[:]))
	}
	b.Set(c.info, 1)
	return nil
}

func (c *uname) close(context.Context) {}
