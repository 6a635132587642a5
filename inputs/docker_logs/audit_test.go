package dockerlogs

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/internal/docker/dockertest"
)

func TestSizesAreReadAsDockerWritesThem(t *testing.T) {
	for text, want := range map[string]int64{
		"20m": 20_000_000, "512k": 512_000, "1.5g": 1_500_000_000, "10MB": 10_000_000, "1000": 1000, "-1": 0, "": 0, "many": 0, "9999p9": 0,
	} {
		if got := parseSize(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
	for driver, want := range map[string]int64{"local": 20_000_000, "json-file": 0, "journald": 0, "none": 0} {
		if got := rotatesAt(&docker.Container{LogDriver: driver}); got != want {
			t.Errorf("%s: got %d, want %d", driver, got, want)
		}
	}
}

// rotating is a container whose log is rotated at a kilobyte.
func rotating(b *bench, id string) {
	b.create(id, "local", func(c *dockertest.Container) { c.LogOptions = map[string]string{"max-size": "1k"} })
	b.fake.Start(id)
}

// numbers are lines.
func numbers(from, to int) []string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprintf("line %d", i))
	}
	return out
}

func TestWhatAStreamLeavesOutAtARotationIsReadAfterwards(t *testing.T) {
	for name, end := range map[string]func(b *bench){
		"more comes":                  func(b *bench) { b.write("web", numbers(31, 60)...) },
		"nothing comes for a while":   func(*bench) {},
		"the container ends":          func(b *bench) { b.fake.Die("web") },
		"the file is begun once more": func(b *bench) { b.fake.Write("web", dockertest.Message{Time: b.now, Text: "line 30\n"}) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.quick = true
			b.run(nil).ready()
			rotating(b, "web")
			b.write("web", numbers(1, 5)...)
			b.want(numbers(1, 5)...)
			b.fake.Skip(func(m dockertest.Message) bool {
				var n int
				_, err := fmt.Sscanf(m.Text, "line %d", &n)
				return err == nil && n > 10 && n < 20
			})
			b.write("web", numbers(6, 30)...)
			b.until("the last line", func() bool { return slices.Contains(b.texts(), "line 30") })
			end(b)
			b.until("what was left out", func() bool {
				got := b.texts()
				return !slices.ContainsFunc(numbers(1, 30), func(l string) bool { return !slices.Contains(got, l) })
			})
		})
	}
}

func TestAStreamThatLeavesNothingOutIsComparedWithoutARepeat(t *testing.T) {
	b := newBench(t)
	b.quick = true
	b.run(nil).ready()
	rotating(b, "web")
	var want []string
	for i := range 40 {
		lines := numbers(100*i, 100*i+15)
		want = append(want, lines...)
		b.write("web", lines...)
		// Parts of a line, between which the stream may be left.
		b.now += 1000
		whole := ""
		for part := range 3 {
			text := strings.Repeat(fmt.Sprint(part), 400)
			whole += text
			if part == 2 {
				text += "\n"
			}
			b.fake.Write("web", dockertest.Message{Time: b.now, Text: text})
			if i%4 == 0 {
				b.until("the lines before", func() bool { return len(b.texts()) >= len(want) })
			}
		}
		want = append(want, whole)
	}
	b.want(want...)
	reads := 0
	for _, r := range b.fake.Requests() {
		if strings.HasSuffix(r, "/logs") {
			reads++
		}
	}
	if reads < 5 {
		t.Errorf("the log was read %d times: nothing was compared", reads)
	}
}
