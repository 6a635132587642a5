package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/internal/hostinfo"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// osRelease is the machine's os-release file (os-release(5)), read once a minute.
type osRelease struct {
	rootfs string
	// own says that rootfs is that of the agent's container.
	own    bool
	series *metrics.Registry

	read    bool
	at      int64 // milliseconds, when it was read
	text    string
	samples []fixedSample
	err     error

	info, version, supportEnd *metrics.Desc
	majorMinor                *regexp.Regexp
}

func newOS(m *machine) *osRelease {
	return &osRelease{
		rootfs: m.rootfs, own: m.host.Container && m.rootfs == "/", series: m.series,
		info: gauge("node_os_info", "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, "+
			"name, pretty_name, variant, variant_id, version, version_codename, version_id."),
		version:    gauge("node_os_version", "Metric containing the major.minor part of the OS version."),
		supportEnd: gauge("node_os_support_end_timestamp_seconds", "Metric containing the end-of-life date timestamp of the OS."),
		majorMinor: regexp.MustCompile(`^[0-9]+\.?[0-9]*`),
	}
}

func (c *osRelease) collect(_ context.Context, b *metrics.Batch) error {
	const every = 60_000 // ms
	if !c.read || b.Time < c.at || b.Time-c.at >= every {
		c.read, c.at = true, b.Time
		c.refresh()
	}
	for _, s := range c.samples {
		b.Set(s.series, s.value)
	}
	return c.err
}

func (c *osRelease) refresh() {
	for _, name := range [...]string{"/etc/os-release", "/usr/lib/os-release"} {
		path, err := hostinfo.InRoot(c.rootfs, name)
		var data []byte
		if err == nil {
			data, err = os.ReadFile(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			c.text, c.samples, c.err = "", nil, err
			return
		}
		if text := string(data); text != c.text || c.samples == nil {
			c.text = text
			c.samples, c.err = c.parse(path, text)
		}
		return
	}
	c.text, c.samples = "", nil
	c.err = fmt.Errorf("%w: there is no /etc/os-release below %s", errNoData, c.rootfs)
	if c.own {
		c.err = fmt.Errorf("%w, and this container has no /etc/os-release", errNotMounted)
	}
}

func (c *osRelease) parse(path, text string) ([]fixedSample, error) {
	v, err := parseAssignments(path, text)
	out := []fixedSample{{c.series.New(c.info, "build_id", v["BUILD_ID"], "id", v["ID"], "id_like", v["ID_LIKE"], "image_id", v["IMAGE_ID"],
		"image_version", v["IMAGE_VERSION"], "name", v["NAME"], "pretty_name", v["PRETTY_NAME"], "variant", v["VARIANT"],
		"variant_id", v["VARIANT_ID"], "version", v["VERSION"], "version_codename", v["VERSION_CODENAME"], "version_id", v["VERSION_ID"]), 1}}
	if n, e := strconv.ParseFloat(c.majorMinor.FindString(v["VERSION_ID"]), 64); e == nil && n > 0 {
		out = append(out, fixedSample{c.series.New(c.version, "id", v["ID"], "id_like", v["ID_LIKE"], "name", v["NAME"]), n})
	}
	if end := v["SUPPORT_END"]; end != "" {
		t, e := time.Parse(time.DateOnly, end)
		if e != nil {
			firstError(&err, fmt.Errorf("%s: SUPPORT_END is %q, not a date as 2030-01-31", path, end))
		} else {
			out = append(out, fixedSample{c.series.New(c.supportEnd), float64(t.Unix())})
		}
	}
	return out, err
}

// parseAssignments reads lines NAME=value, the value bare or in a shell's single or double quotes.
func parseAssignments(path, text string) (map[string]string, error) {
	values := map[string]string{}
	var bad error
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if ok {
			value, ok = unquote(value)
		}
		if !ok {
			firstError(&bad, badLine(path, n, []byte(line), "not an assignment of a shell"))
			continue
		}
		values[strings.TrimPrefix(name, "export ")] = strings.ToValidUTF8(value, "\uFFFD")
	}
	return values, bad
}

// unquote takes the quotes and backslashes out of a value as a shell would.
func unquote(s string) (string, bool) {
	var out strings.Builder
	var quote byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == quote && quote != 0:
			quote = 0
		case c == '\\' && quote != '\'':
			i++
			if i == len(s) {
				return "", false
			}
			// Within double quotes a backslash stays before all but these.
			if quote == '"' && !strings.ContainsRune("$\"\\`", rune(s[i])) {
				out.WriteByte('\\')
			}
			out.WriteByte(s[i])
		case quote == 0 && (c == ' ' || c == '\t'):
			return out.String(), true // a comment may follow
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), quote == 0
}

func (c *osRelease) close(context.Context) {}
