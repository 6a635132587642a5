package positions

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v2"
)

// Promtail is what a positions file of Promtail says.
type Promtail struct {
	// Files are the offsets of what Promtail has not read yet, by path. Promtail doesn't note which file stood there.
	Files map[string]int64
	// Containers are the times of the newest lines that Promtail has read, by the container's id. They are whole seconds, cut off: lines of
	// that second have been read too.
	Containers map[string]time.Time
}

// maxPromtail bounds the file that ReadPromtail reads.
const maxPromtail = 64 << 20

// containerCursor is before a container's id in the file.
const containerCursor = "cursor-"

// ReadPromtail reads a positions file of Promtail (clients/pkg/promtail/positions/positions.go): a YAML map named positions from paths to
// offsets in quotes, and from "cursor-" and a container's id to seconds since 1970. Those of the successor Alloy, whose keys are a path and its
// labels, are read too. Entries of other kinds of sources are passed over.
func ReadPromtail(path string) (Promtail, error) {
	// Looked at first: opening a FIFO would wait for its writer.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return Promtail{}, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return Promtail{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPromtail+1))
	if err != nil {
		return Promtail{}, err
	}
	if len(b) > maxPromtail {
		return Promtail{}, fmt.Errorf("%s is larger than %d MiB", path, maxPromtail>>20)
	}
	p, err := parsePromtail(b)
	if err != nil {
		return Promtail{}, fmt.Errorf("%s is no positions file of Promtail: %w", path, err)
	}
	return p, nil
}

func parsePromtail(b []byte) (Promtail, error) {
	var file struct {
		Positions *yaml.MapSlice `yaml:"positions"`
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		return Promtail{}, err
	}
	if file.Positions == nil {
		return Promtail{}, errors.New(`it has no map named "positions"`)
	}
	p := Promtail{Files: map[string]int64{}, Containers: map[string]time.Time{}}
	for _, entry := range *file.Positions {
		n, err := strconv.ParseInt(fmt.Sprint(entry.Value), 10, 64)
		if err != nil || n < 0 {
			continue // a journal's cursor
		}
		key, labeled := "", false
		switch k := entry.Key.(type) {
		case string:
			key = k
		case yaml.MapSlice:
			for _, part := range k {
				if part.Key == "path" {
					key, labeled = fmt.Sprint(part.Value), true
				}
			}
		}
		id, isContainer := strings.CutPrefix(key, containerCursor)
		switch {
		case isContainer:
			p.Containers[id] = later(p.Containers[id], time.Unix(n, 0))
		case strings.HasPrefix(key, "/"):
			// With labels one path may stand there several times: what all have read counts.
			if before, twice := p.Files[key]; !twice || !labeled || n < before {
				p.Files[key] = n
			}
		}
	}
	return p, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
