package host

import (
	"context"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// filefd is /proc/sys/fs/file-nr: allocated, free (always 0 since Linux 2.6) and most file handles (proc_sys_fs(5)).
type filefd struct {
	file               file
	allocated, maximum *metrics.Series
}

func newFilefd(m *machine) *filefd {
	return &filefd{
		file:      m.proc("sys/fs/file-nr"),
		allocated: m.series.New(gauge("node_filefd_allocated", "File descriptor statistics: allocated.")),
		maximum:   m.series.New(gauge("node_filefd_maximum", "File descriptor statistics: maximum.")),
	}
}

func (c *filefd) collect(_ context.Context, b *metrics.Batch) error {
	data, err := c.file.read()
	if err != nil {
		return err
	}
	return c.parse(data, b)
}

func (c *filefd) parse(data []byte, b *metrics.Batch) error {
	line, _ := pseudofile.CutLine(data)
	first, rest := pseudofile.CutField(line)
	_, rest = pseudofile.CutField(rest)
	third, _ := pseudofile.CutField(rest)
	allocated, ok := parseNumber(first)
	maximum, ok2 := parseNumber(third)
	if !ok || !ok2 {
		return badLine(c.file.path, 1, line, "not three numbers")
	}
	b.Set(c.allocated, allocated)
	b.Set(c.maximum, maximum)
	return nil
}

func (c *filefd) close(context.Context) { c.file.close() }
