package dockerlogs

import (
	"slices"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/docker/dockertest"
	"github.com/hermod-agent/hermod/internal/multiline"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func indented(wait time.Duration) func(*Config) {
	return func(c *Config) { c.Multiline = &multiline.Config{Indented: true, MaxWait: config.Duration(wait)} }
}

func TestLinesThatBelongTogetherAreOneRecord(t *testing.T) {
	for _, driver := range []string{"local", "json-file"} {
		t.Run(driver, func(t *testing.T) {
			b := newBench(t)
			b.run(indented(time.Minute)).ready()
			b.create("web", driver, func(c *dockertest.Container) {
				c.LogPath, c.Created = b.file("web"), time.Now()
			})
			b.now = time.Now().UnixNano()
			b.write("web", "a", "  a2", "\ta3", "b", "  b2")
			b.fake.Start("web")
			b.want("a\n  a2\n\ta3")
			b.run(indented(time.Minute)).ready() // the position is at the start of what isn't whole
			b.until("followed", func() bool { return b.row("web").State == "following" })
			b.write("web", "  b3")
			b.write("web", "c")
			b.want("a\n  a2\n\ta3", "b\n  b2\n  b3")
			b.fake.Die("web")
			b.want("a\n  a2\n\ta3", "b\n  b2\n  b3", "c")
		})
	}
}

func TestARecordIsWholeWhenNothingFollowsForAWhileAndDoesNotComeAgain(t *testing.T) {
	for _, driver := range []string{"local", "json-file"} {
		t.Run(driver, func(t *testing.T) {
			b := newBench(t)
			set := indented(100 * time.Millisecond)
			b.run(set).ready()
			b.create("web", driver, func(c *dockertest.Container) {
				c.LogPath, c.Created = b.file("web"), time.Now()
			})
			b.now = time.Now().UnixNano()
			b.write("web", "a", "  a2")
			b.fake.Start("web")
			b.want("a\n  a2")
			for _, next := range []string{"b", "c"} {
				b.run(set).ready()
				b.now = time.Now().UnixNano()
				b.write("web", next)
				b.until(next, func() bool { return slices.Contains(b.texts(), next) })
			}
			if got, want := b.texts(), []string{"a\n  a2", "b", "c"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
