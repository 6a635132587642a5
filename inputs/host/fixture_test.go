package host

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var unpackTo = flag.String("unpack", "", "a new folder for TestUnpackFixture to put the fixture into")

// fixture unpacks the fixture and returns its folder.
func fixture(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	unpack(t, root)
	return root
}

func unpack(t testing.TB, root string) {
	t.Helper()
	data, err := os.ReadFile("testdata/fixture.txtar")
	if err != nil {
		t.Fatal(err)
	}
	name, content := "", []byte(nil)
	flush := func() {
		if name == "" {
			return
		}
		name, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for line := range bytes.Lines(data) {
		header := bytes.TrimSuffix(line, []byte("\n"))
		if bytes.HasPrefix(header, []byte("-- ")) && bytes.HasSuffix(header, []byte(" --")) {
			flush()
			name, content = string(header[3:len(header)-3]), nil
			continue
		}
		content = append(content, line...)
	}
	flush()
}

// TestUnpackFixture puts the fixture where another program can be run over it.
func TestUnpackFixture(t *testing.T) {
	root := *unpackTo
	if root == "" {
		root = t.TempDir()
	}
	unpack(t, root)
	if got, err := os.ReadFile(filepath.Join(root, "proc/net/sockstat")); err != nil || !bytes.HasPrefix(got, []byte("sockets: used")) {
		t.Errorf("through the link: %q, %v", got, err)
	}
}

// replace puts another file in the place of path: whoever has the old one open goes on reading that.
func replace(t testing.TB, path, text string) {
	t.Helper()
	write(t, path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func linkInto(t testing.TB, path, target string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t testing.TB, to, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(data))
}
