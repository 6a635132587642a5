package tail

import (
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// At makes a position of a path and an offset, which is all that some programs note, and the key that it has in a book. The offset is behind a line
// end; so it fits the file at the path, or the youngest generation beside it where that was rotated since. fits is false when it fits none:
// the position is then the beginning of the file at the path. The error is that of opening that one.
func At(path string, offset int64) (key string, p positions.Position, fits bool, err error) {
	f, err := openFile(path)
	if err != nil {
		return "", positions.Position{}, false, err
	}
	defer f.close()
	if fits, err = f.startsLine(offset); err != nil {
		return "", positions.Position{}, false, err
	}
	if fits {
		f.offset = offset
		p, err = f.noted(path)
		return f.key, p, true, err
	}
	if key, p, ok := generationAt(path, offset); ok {
		return key, p, true, nil
	}
	p, err = f.noted(path)
	return f.key, p, false, err
}

// generationAt looks for the youngest generation beside a path that an offset fits.
func generationAt(path string, offset int64) (key string, p positions.Position, ok bool) {
	log := Log{o: Options{Path: path}}
	all, _ := log.beside(nil)
	for i := len(all) - 1; i >= 0; i-- {
		f, err := openFile(all[i].path)
		if err != nil {
			continue
		}
		if ok, err = f.startsLine(offset); ok && err == nil {
			f.offset = offset
			p, err = f.noted(path)
		}
		key = f.key
		f.close()
		if ok && err == nil {
			return key, p, true
		}
	}
	return "", positions.Position{}, false
}

// startsLine says that a line of the file starts at an offset, be it one that is still to come.
func (f *file) startsLine(offset int64) (bool, error) {
	switch {
	case offset < 0 || offset > f.size:
		return false, nil
	case offset == 0:
		return true, nil
	}
	var before [1]byte
	n, err := f.pread(before[:], offset-1)
	return n == 1 && before[0] == '\n', err
}

// noted is the position with the head that belongs to it.
func (f *file) noted(path string) (positions.Position, error) {
	if _, err := f.checkHead(make([]byte, headSize)); err != nil {
		return positions.Position{}, err
	}
	return f.position(path), nil
}
