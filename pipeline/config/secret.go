package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// Secret is a value that is never printed: String, GoString, MarshalJSON, MarshalText and fmt with any verb give "<secret>". A secret
// attribute `password` brings a sibling attribute `password_file` with it, whose file is trimmed and read again when it changes.
//
// Copies share the state of the file. The value stands behind a pointer so that fmt, which prints unexported fields of a struct
// without asking the type, prints an address and not the value.
type Secret struct {
	value *string
	file  *secretFile
}

// secretRedacted is what is printed in place of a secret.
const secretRedacted = "<secret>"

// maxSecretFile bounds what is read from a secret's file.
const maxSecretFile = 64 << 10

// NewSecret makes a Secret of a value; "" gives one that isn't set.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: &value}
}

// NewSecretFile makes a Secret whose value stands in a file.
func NewSecretFile(path string) Secret {
	if path == "" {
		return Secret{}
	}
	return Secret{file: &secretFile{path: path, now: time.Now}}
}

// Reveal returns the secret, from its file when it names one. The file is looked at again when the last look is a second old, and read
// again when its identity, size or time has changed. A file that can't be read any more is an error: an old password isn't used on.
func (s *Secret) Reveal() (string, error) {
	switch {
	case s == nil:
		return "", nil
	case s.file != nil:
		return s.file.reveal()
	case s.value != nil:
		return *s.value, nil
	}
	return "", nil
}

// IsSet says whether a value or a file was given.
func (s *Secret) IsSet() bool { return s != nil && (s.value != nil || s.file != nil) }

// File is the path of the secret's file, or "".
func (s *Secret) File() string {
	if s == nil || s.file == nil {
		return ""
	}
	return s.file.path
}

// String never gives the value.
func (s Secret) String() string {
	if !s.IsSet() {
		return ""
	}
	return secretRedacted
}

// GoString never gives the value.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// Format never gives the value, whatever the verb.
func (s Secret) Format(f fmt.State, verb rune) { printAs(f, verb, s.String()) }

// MarshalText never gives the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON never gives the value.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// LogValue never gives the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// secretFile is a secret that stands in a file.
type secretFile struct {
	path string
	now  func() time.Time

	mu     sync.Mutex // guards what follows
	looked time.Time  // when the file was last looked at
	info   os.FileInfo
	value  string
	err    error
}

func (f *secretFile) reveal() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if age := now.Sub(f.looked); !f.looked.IsZero() && age >= 0 && age < time.Second {
		return f.value, f.err
	}
	f.looked = now
	info, err := os.Stat(f.path)
	if err == nil && f.err == nil && f.info != nil && os.SameFile(info, f.info) && info.Size() == f.info.Size() && info.ModTime().Equal(f.info.ModTime()) {
		return f.value, nil
	}
	f.info = info
	f.value, f.err = "", nil
	text, err := readSmall(f.path, maxSecretFile)
	if err != nil {
		f.err = fmt.Errorf("the secret's file: %w", err)
		return "", f.err
	}
	f.value = strings.TrimSpace(string(text))
	if f.value == "" {
		f.err = fmt.Errorf("the secret's file %s is empty", f.path)
	}
	return f.value, f.err
}

// readSmall reads a regular file of at most limit bytes. Anything else is refused before it is opened: opening a FIFO would wait.
func readSmall(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, plainPathError(path, err)
	}
	switch {
	case info.IsDir():
		return nil, fmt.Errorf("%s is a folder", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > limit:
		return nil, fmt.Errorf("%s has %d bytes, more than the %s that are read", path, info.Size(), Size(limit))
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, plainPathError(path, err)
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, plainPathError(path, err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is larger than the %s that are read", path, Size(limit))
	}
	return text, nil
}

// pathError is a fault of a path in plain words. It unwraps to the system's error without repeating its text.
type pathError struct {
	what  string
	cause error
}

func (e *pathError) Error() string { return e.what }
func (e *pathError) Unwrap() error { return e.cause }

// plainPathError says what is wrong with a path in plain words.
func plainPathError(path string, err error) error {
	var inner *os.PathError
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &pathError{path + " doesn't exist", err}
	case errors.Is(err, os.ErrPermission):
		return &pathError{path + " can't be read by this user", err}
	case errors.As(err, &inner):
		return &pathError{path + " can't be read: " + inner.Err.Error(), err}
	}
	return &pathError{path + " can't be read: " + err.Error(), err}
}
