package redis

import (
	"errors"
	"fmt"
	"os"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// script is a Lua script that the server runs at each collection. It returns names and numbers in turn, all as strings.
type script struct {
	in             *input
	path, text     string
	result, values *family
}

// maxScript bounds a script's file.
const maxScript = 256 << 10

func loadScripts(in *input) ([]script, error) {
	result := in.family(gauge("script_result", "Result of the collect script evaluation"), "filename")
	values := in.family(gauge("script_values", "Values returned by the collect script"), "key", "filename")
	var scripts []script
	for _, path := range in.cfg.Script {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return nil, component.WithRemedy(fmt.Errorf("script: %w", err), "check the path, and that the agent may read it")
		case !info.Mode().IsRegular() || info.Size() > maxScript:
			return nil, fmt.Errorf("script: %s is no regular file of at most %d KiB", path, maxScript>>10)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, component.WithRemedy(fmt.Errorf("script: %w", err), "check that the agent may read it")
		}
		scripts = append(scripts, script{in, path, string(text), result, values})
	}
	return scripts, nil
}

// What redis_script_result says.
const (
	scriptFailed  = 0
	scriptWorked  = 1
	scriptNothing = 2
)

func (s *script) collect(v value, b *metrics.Batch) {
	path := []byte(s.path)
	if v.len() == 0 {
		b2 := float64(scriptNothing)
		if !v.isArray() && v.is != nil {
			s.wrong()
			b2 = scriptFailed
		}
		s.result.set(b, b2, path)
		return
	}
	before := len(b.Samples)
	for name, is := range v.pairs {
		n, ok := parseFloat(is.text())
		if !ok {
			s.wrong()
			b.Samples = b.Samples[:before]
			s.result.set(b, scriptFailed, path)
			return
		}
		s.values.set(b, n, name.text(), path)
	}
	s.result.set(b, scriptWorked, path)
}

func (s *script) wrong() {
	s.in.fault("script "+s.path, component.WithRemedy(errors.New("it doesn't return names and numbers in turn"), `let it end like: return {"jobs", tostring(n)}`))
}

func (s *script) failed(b *metrics.Batch) { s.result.set(b, scriptFailed, []byte(s.path)) }
