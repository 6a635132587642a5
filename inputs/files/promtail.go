package files

import (
	"errors"
	"io/fs"

	"github.com/hermod-agent/hermod/internal/tail"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// importPromtail notes where Promtail has stopped reading what is followed now. What is wrong with its file doesn't keep the input from running.
func (r *run) importPromtail(w *walk) {
	from := r.in.cfg.ImportPromtailPositions
	if from == "" {
		return
	}
	p, err := positions.ReadPromtail(from)
	if err != nil {
		r.env.Status.Note(promtailKey, component.WithRemedy(err, "the files are read from where `start` says; to go on where Promtail stopped, stop "+
			"the agent, put the file right, and remove the agent's data_dir"))
		r.env.Log.Error("the positions of Promtail can't be imported: files are read from where start says", "err", err, "start", r.in.cfg.Start)
		return
	}
	imported := 0
	for path, offset := range p.Files {
		if !w.found[path] && !r.wants(path) || isCompressed(path) {
			continue
		}
		key, at, fits, err := tail.At(path, offset)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			r.env.Log.Error("the position of Promtail in a file can't be imported: the file is read from where start says", "file", path, "err", err)
			continue
		case !fits:
			r.env.Log.Warn("Promtail's position fits neither the file nor one rotated away from it: the file is read from its beginning", "file", path, "offset", offset)
		}
		r.env.Positions.Set(key, at)
		imported++
	}
	r.env.Log.Info("positions of Promtail imported", "file", from, "files", imported)
}
