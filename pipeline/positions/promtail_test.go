package positions

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestPositionsOfPromtailAreRead(t *testing.T) {
	const id = "0f2a4c1b9d8e7f60"
	for name, text := range map[string]string{
		"promtail": `positions:
  /var/log/nginx/access.log: "123456789"
  "/srv/odd: name.log": "7"
  cursor-` + id + `: "1700000000"
  cursor-journal-job: "s=0639;i=1;b=2"
  journal-job: s=0639;i=1
`,
		"older, without quotes": "positions:\n  /var/log/nginx/access.log: 123456789\n  '/srv/odd: name.log': 7\n  cursor-" + id + ": 1700000000\n",
		"alloy": `positions:
  ? path: /var/log/nginx/access.log
    labels: '{job="a"}'
  : "123456789"
  ? path: /var/log/nginx/access.log
    labels: '{job="b"}'
  : "123456999"
  ? path: '/srv/odd: name.log'
    labels: ""
  : "7"
  ? path: cursor-` + id + `
    labels: '{}'
  : "1700000000"
`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "positions.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := ReadPromtail(path)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[string]int64{"/var/log/nginx/access.log": 123456789, "/srv/odd: name.log": 7}; !maps.Equal(p.Files, want) {
				t.Errorf("files %v, want %v", p.Files, want)
			}
			if want := map[string]time.Time{id: time.Unix(1700000000, 0)}; !maps.Equal(p.Containers, want) {
				t.Errorf("containers %v, want %v", p.Containers, want)
			}
		})
	}
}

func TestWhatIsNoPositionsFileOfPromtailIsTold(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "no map",
		strings.Repeat("\x00", 99): "is no positions file",
		"positions: [1, 2]":        "is no positions file",
		"a: b":                     "no map",
		"positions:\n\t/a: 1":      "is no positions file",
	} {
		path := filepath.Join(t.TempDir(), "positions.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPromtail(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if _, err := ReadPromtail(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPromtail(fifo); err == nil {
		t.Error("a FIFO was read")
	}
}

func FuzzPromtail(f *testing.F) {
	f.Add([]byte("positions:\n  /a: \"1\"\n  cursor-abc: \"2\"\n"))
	f.Add([]byte("positions:\n  ? path: /a\n    labels: ''\n  : \"1\"\n"))
	f.Add([]byte("positions: {*a: &a 1}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePromtail(b)
		if err != nil {
			return
		}
		for path, offset := range p.Files {
			if offset < 0 || path == "" {
				t.Errorf("%q at %d", path, offset)
			}
		}
	})
}
