package dockerlogs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/internal/docker/dockertest"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is an input on an engine that a test tells what to do.
type bench struct {
	t    *testing.T
	fake *dockertest.Engine
	sink *sink
	book *positions.Book
	dir  string // of the log files
	env  *component.Env
	in   *input
	stop func()
	now  int64
	// quick shortens what an input waits for.
	quick bool
	// rootfs is where the machine's root is mounted, if it is.
	rootfs string
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, fake: dockertest.New(t), sink: newSink(), book: newBook(t), dir: t.TempDir(), now: time.Now().UnixNano()}
	b.stop = func() {}
	t.Cleanup(func() { b.stop() })
	return b
}

// run starts an input in place of the one before.
func (b *bench) run(change func(*Config)) *bench {
	b.t.Helper()
	b.stop()
	env, out := newEnv(b.t, b.sink, b.book)
	if b.rootfs != "" {
		env.Host.Rootfs = b.rootfs
	}
	c := defaults()
	c.Endpoint = "unix://" + b.fake.Socket()
	if change != nil {
		change(&c)
	}
	if errs := c.Validate(); len(errs) > 0 {
		b.t.Fatal(errs)
	}
	in, err := open(env, &c)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.quick {
		in.stuckAfter, in.silentFor = 20*time.Millisecond, 50*time.Millisecond
	}
	if err := in.Start(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	b.env, b.in = env, in
	b.stop = func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				b.t.Errorf("Run: %v", err)
			}
		case <-time.After(time.Minute):
			b.t.Fatal("Run doesn't end")
		}
		if err := errors.Join(in.Stop(context.Background()), in.Stop(context.Background())); err != nil {
			b.t.Error(err)
		}
		if b.t.Failed() {
			b.t.Logf("log of the input:\n%s", out)
		}
		b.stop = func() {}
	}
	return b
}

func (b *bench) ready() *bench {
	b.t.Helper()
	b.until("ready", b.env.Status.IsReady)
	return b
}

func (b *bench) until(what string, cond func() bool) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("not within a minute: %s; have %v; rows %+v; faults %+v", what, b.texts(), b.in.details(), b.env.Status.Faults())
		}
	}
}

func (b *bench) texts() []string {
	var out []string
	for _, r := range b.sink.all() {
		out = append(out, r.line)
	}
	return out
}

// want waits until exactly these lines have come.
func (b *bench) want(lines ...string) {
	b.t.Helper()
	b.until(fmt.Sprintf("%q", lines), func() bool { return len(b.texts()) >= len(lines) })
	if got := b.texts(); !slices.Equal(got, lines) {
		b.t.Fatalf("got %q, want %q", got, lines)
	}
}

func (b *bench) row(name string) component.Detail {
	for _, d := range b.in.details() {
		if d.Name == name {
			return d
		}
	}
	return component.Detail{}
}

func (b *bench) create(id, driver string, change func(*dockertest.Container)) {
	c := dockertest.Container{ID: id, Name: id, Image: "img:1", Driver: driver}
	if change != nil {
		change(&c)
	}
	b.fake.Create(c)
}

// file is where the json-file log of a container lies.
func (b *bench) file(id string) string { return filepath.Join(b.dir, id+"-json.log") }

// write writes lines to a container's log, by way of the engine and into the file.
func (b *bench) write(id string, lines ...string) {
	b.t.Helper()
	f, err := os.OpenFile(b.file(id), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var messages []dockertest.Message
	for _, l := range lines {
		b.now += 1000
		messages = append(messages, dockertest.Message{Time: b.now, Text: l + "\n"})
		text, _ := json.Marshal(l + "\n")
		if _, err := fmt.Fprintf(f, `{"log":%s,"stream":"stdout","time":%q}`+"\n", text, time.Unix(0, b.now).UTC().Format(time.RFC3339Nano)); err != nil {
			b.t.Fatal(err)
		}
	}
	b.fake.Write(id, messages...)
}

func TestLabelsOfALog(t *testing.T) {
	b := newBench(t).run(func(c *Config) { c.ContainerLabels = []string{"com.example.team", "9lives", "none"} }).ready()
	b.create("web", "local", func(c *dockertest.Container) {
		c.Labels = map[string]string{
			"com.docker.compose.project": "shop", "com.docker.compose.service": "front", "com.example.team": "a", "9lives": "cat", "other": "x",
		}
	})
	b.fake.Start("web")
	b.fake.Write("web", dockertest.Message{Time: 1e18 + 5, Text: "out\r\n"}, dockertest.Message{Stderr: true, Time: 1e18 + 6, Text: "err\xff\n"})
	b.want("out", "err\uFFFD")
	const common = `com_example_team="a", compose_project="shop", compose_service="front", container="web", image="img:1", stream=`
	all := b.sink.all()
	if all[0].labels != `{_9lives="cat", `+common+`"stdout"}` || all[1].labels != `{_9lives="cat", `+common+`"stderr"}` || all[0].time != 1e18+5 {
		t.Errorf("got %v", all)
	}
	b.fake.Rename("web", "shop_front_1")
	b.until("the new name", func() bool { return b.row("shop_front_1").State != "" })
	b.fake.Write("web", dockertest.Message{Time: 1e18 + 7, Text: "renamed\n"})
	b.want("out", "err\uFFFD", "renamed")
	if l := b.sink.all()[2].labels; !strings.Contains(l, `container="shop_front_1"`) {
		t.Errorf("labels %s", l)
	}
}

func TestOnlyWhatIsPickedIsRead(t *testing.T) {
	b := newBench(t).run(func(c *Config) {
		c.Include = []Selector{{Names: []string{"~web-.*", "db"}, Images: []string{"!img:2"}}, {Labels: map[string]string{"logs": "on"}}}
		c.Exclude = []Selector{{Names: []string{"web-3"}}, {Labels: map[string]string{"env": "~te?st"}}}
	}).ready()
	for id, c := range map[string]dockertest.Container{
		"web-1": {}, "web-2": {Image: "img:2"}, "web-3": {}, "db": {}, "xweb-1": {}, "by-label": {Labels: map[string]string{"logs": "on"}},
		"test": {Labels: map[string]string{"logs": "on", "env": "test"}}, "other": {},
	} {
		b.create(id, "local", func(n *dockertest.Container) {
			n.Labels = c.Labels
			if c.Image != "" {
				n.Image = c.Image
			}
		})
		b.fake.Start(id)
		b.fake.Write(id, dockertest.Message{Time: b.now, Text: id + "\n"})
	}
	b.create("web-9", "local", nil)
	b.fake.Start("web-9")
	b.until("four rows", func() bool { return len(b.in.details()) == 4 && len(b.texts()) == 3 })
	got := b.texts()
	slices.Sort(got)
	if !slices.Equal(got, []string{"by-label", "db", "web-1"}) {
		t.Errorf("got %q", got)
	}
}

func TestALogChangesItsPathWithoutLossOrRepeat(t *testing.T) {
	b := newBench(t)
	b.run(nil).ready()
	b.create("web", "json-file", func(c *dockertest.Container) { c.LogPath = b.file("web") })
	b.fake.Start("web")
	var want []string
	for round := range 8 {
		files := round%2 == 0
		b.run(func(c *Config) { c.ReadFiles = files }).ready()
		for i := range 20 {
			line := fmt.Sprintf("round %d line %d", round, i)
			if i%3 == 0 {
				line = "the same"
			}
			want = append(want, line)
			b.write("web", line)
		}
		b.want(want...)
		b.until("the row", func() bool {
			row := b.row("web")
			return row.State == "following" && strings.HasPrefix(row.Via, "file ") == files && (row.Unread == 0) == files && row.Last.UnixNano() == b.now
		})
		b.fake.Set("1.41", "", round%4 < 2)
	}
}

func TestAFileThatCannotBeReadIsReadThroughTheEngine(t *testing.T) {
	b := newBench(t).run(nil).ready()
	b.create("web", "json-file", func(c *dockertest.Container) { c.LogPath = "/nonexistent/docker/containers/web/web-json.log" })
	b.fake.Start("web")
	b.fake.Write("web", dockertest.Message{Time: b.now, Text: "hello\n"})
	b.want("hello")
	if row := b.row("web"); row.Via != viaAPI || !strings.Contains(row.Note, "-v /nonexistent/docker/containers:/nonexistent/docker/containers:ro") || row.Unread != -1 {
		t.Errorf("row %+v", row)
	}
}

func TestAFileBelowTheMountedRootIsRead(t *testing.T) {
	b := newBench(t)
	b.rootfs = t.TempDir()
	b.run(nil).ready()
	path := filepath.Join(b.rootfs, "var/lib/engine/containers/web")
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	line := `{"log":"from disk\n","stream":"stdout","time":"2026-01-02T03:04:05.1Z"}` + "\n"
	if err := os.WriteFile(path+"/web-json.log", []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	b.create("web", "json-file", func(c *dockertest.Container) { c.LogPath = "/var/lib/engine/containers/web/web-json.log" })
	b.fake.Start("web")
	b.want("from disk")
	if row := b.row("web"); row.Via != "file "+path+"/web-json.log" {
		t.Errorf("row %+v", row)
	}
}

func TestLinesOfAFileThatAreNoneAreCounted(t *testing.T) {
	b := newBench(t).run(nil).ready()
	text := `{"log":"one\n","stream":"stdout","time":"2026-01-02T03:04:05.1Z"}` + "\n" + "garbage\n\n" + strings.Repeat("\x00", 5000) +
		`{"log":"two\n","stream":"stdout","time":"2026-01-02T03:04:05.2Z"}` + "\n" + `{"log":"torn{"log":"three\n"}` + "\n" +
		`{"log":"cut o` + strings.Repeat("\x00", 300) + `{"log":"behind the hole\n","stream":"stdout","time":"2026-01-02T03:04:05.25Z"}` + "\n" +
		`{"log":"four\n","stream":"stderr","time":"2026-01-02T03:04:05.3Z"}` + "\n" + `{"log":"half` + "\n"
	if err := os.WriteFile(b.file("web"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.create("web", "json-file", func(c *dockertest.Container) { c.LogPath = b.file("web") })
	b.fake.Start("web")
	b.want("one", "two", "behind the hole", "four")
	b.until("four losses", func() bool { return b.env.Losses.Counts()["undecodable"] == 4 })
}

func TestTheEngineMayComeAndGo(t *testing.T) {
	b := newBench(t)
	b.fake.Down()
	b.run(nil)
	b.until("a fault", func() bool { return len(b.env.Status.Faults()) == 1 })
	if f := b.env.Status.Faults()[0]; f.Key != "" || !strings.Contains(f.Remedy, "/var/run/docker.sock:ro") || b.env.Status.IsReady() {
		t.Errorf("%+v, ready %v", f, b.env.Status.IsReady())
	}
	b.fake.Up()
	b.ready()
	b.until("no fault", func() bool { return len(b.env.Status.Faults()) == 0 })
	b.create("web", "local", nil)
	b.fake.Start("web")
	b.fake.Write("web", dockertest.Message{Time: b.now, Text: "one\n"})
	b.want("one")
	b.fake.Down()
	b.until("a fault again", func() bool { return len(b.env.Status.Faults()) == 1 })
	b.fake.Write("web", dockertest.Message{Time: b.now, Text: "one\n"}, dockertest.Message{Time: b.now + 1, Text: "two\n"})
	b.fake.Up()
	b.want("one", "one", "two")
	if !b.env.Status.IsReady() {
		t.Error("not ready any more")
	}
}

func TestWhatEndsAmidALineIsKept(t *testing.T) {
	b := newBench(t).run(nil).ready()
	b.create("web", "local", nil)
	b.fake.Start("web")
	b.fake.Write("web", dockertest.Message{Time: b.now, Text: "whole\n"}, dockertest.Message{Time: b.now + 1, Text: "half"})
	b.want("whole")
	b.fake.Die("web")
	b.want("whole", "half")
	b.until("ended", func() bool { return b.row("web").State == "ended" })
	b.fake.Start("web")
	b.fake.Write("web", dockertest.Message{Time: time.Now().UnixNano(), Text: "again\n"})
	b.want("whole", "half", "again")
	b.run(nil).ready()
	b.fake.Die("web")
	b.until("ended", func() bool { return b.row("web").State == "ended" })
	b.want("whole", "half", "again")
	b.fake.Destroy("web")
	b.until("forgotten", func() bool { return len(b.in.details()) == 0 })
	if _, known := b.book.Get("web"); known {
		t.Error("the position is kept")
	}
}

func TestALogThatWasRotatedPastThePositionGoesOn(t *testing.T) {
	b := newBench(t).run(nil).ready()
	b.create("web", "local", nil)
	b.fake.Start("web")
	b.write("web", "1", "2", "3")
	b.want("1", "2", "3")
	b.stop()
	b.write("web", "4", "5", "6")
	b.fake.Rotate("web", 4) // 4 is lost
	b.run(nil).ready()
	b.want("1", "2", "3", "5", "6")
	if n := b.env.Losses.Counts()["rotated_away"]; n != 1 {
		t.Errorf("losses %v", b.env.Losses.Counts())
	}
}

func TestAClockThatWasSetBackLosesNothing(t *testing.T) {
	b := newBench(t).run(nil).ready()
	b.create("web", "local", nil)
	b.fake.Start("web")
	future := time.Now().Add(time.Hour).UnixNano()
	b.fake.Write("web", dockertest.Message{Time: future, Text: "1\n"}, dockertest.Message{Time: future + 1, Text: "2\n"})
	b.want("1", "2")
	b.stop()
	b.fake.Write("web", dockertest.Message{Time: time.Now().UnixNano(), Text: "3\n"})
	b.run(nil).ready()
	b.want("1", "2", "3")
}

func TestASilentStreamIsFoundOut(t *testing.T) {
	b := newBench(t)
	b.quick = true
	b.run(nil).ready()
	b.create("web", "local", nil)
	b.fake.Start("web")
	b.write("web", "1")
	b.want("1")
	b.fake.Mute(true)
	b.write("web", "2", "3")
	b.want("1", "2", "3")
	b.write("web", "4")
	b.want("1", "2", "3", "4")
	b.fake.Die("web")
	b.until("ended, though the stream doesn't end", func() bool { return b.row("web").State == "ended" })
	b.want("1", "2", "3", "4")
}

func TestAQuietStreamIsLeftAlone(t *testing.T) {
	for _, start := range []string{"end", "beginning"} {
		b := newBench(t)
		b.quick = true
		b.now -= int64(time.Hour)
		b.create("web", "local", func(c *dockertest.Container) { c.Created = time.Now().Add(-2 * time.Hour) })
		b.fake.Start("web")
		b.write("web", "old")
		b.run(func(c *Config) { c.Start = start }).ready()
		logs := func() (n int) {
			for _, r := range b.fake.Requests() {
				if strings.HasSuffix(r, "/logs") {
					n++
				}
			}
			return n
		}
		b.until("three looks", func() bool { return logs() >= 4 })
		b.now = time.Now().UnixNano()
		b.write("web", "new")
		b.until("the new line", func() bool { l := b.texts(); return len(l) > 0 && l[len(l)-1] == "new" })
		if len(b.texts()) != map[string]int{"end": 1, "beginning": 2}[start] {
			t.Errorf("start %s: %q", start, b.texts())
		}
		b.stop()
	}
}

// A consumer that stalls: the stream is left, and the log read on from the position.
func TestAStallLeavesTheStream(t *testing.T) {
	b := newBench(t)
	stalls := 0
	b.sink.fail = func() error {
		if stalls++; stalls%3 == 1 {
			time.Sleep(stall + 20*time.Millisecond)
		}
		return nil
	}
	b.run(func(c *Config) { c.ReadFiles = false }).ready()
	b.create("web", "json-file", nil)
	b.fake.Start("web")
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprint("line ", i/3))
		b.write("web", want[i])
		if i%5 == 0 {
			b.want(want...)
		}
	}
	b.want(want...)
	requests := strings.Count(strings.Join(b.fake.Requests(), "\n"), "/logs")
	if requests < 4 {
		t.Errorf("%d requests for logs", requests)
	}
}

func TestAnUnreadableDriverSaysWhatToDo(t *testing.T) {
	b := newBench(t)
	b.fake.Set("1.41", "configured logging driver does not support reading", false)
	b.run(nil).ready()
	b.create("mute", "none", nil)
	b.create("gelf", "gelf", func(c *dockertest.Container) { c.LogOptions = map[string]string{"cache-disabled": "true"} })
	b.fake.Start("mute")
	b.fake.Start("gelf")
	b.until("both rows", func() bool { return b.row("mute").State == "unreadable" && b.row("gelf").State == "unreadable" })
	if n := b.row("mute").Note; !strings.Contains(n, "driver none") || !strings.Contains(n, "json-file or local") {
		t.Errorf("note %q", n)
	}
	if n := b.row("gelf").Note; !strings.Contains(n, "cache-disabled") {
		t.Errorf("note %q", n)
	}
	if f := b.env.Status.Faults(); len(f) != 1 || !f[0].Note || f[0].Key != "container gelf" {
		t.Errorf("faults %+v", f) // none is what somebody wanted, and each step of a build
	}
	b.fake.Die("gelf")
	b.fake.Destroy("gelf")
	b.until("no note", func() bool { return len(b.env.Status.Faults()) == 0 })
}

func TestARefusedBatchIsOfferedAgain(t *testing.T) {
	b := newBench(t)
	tries := 0
	b.sink.fail = func() error {
		if tries++; tries < 2 {
			return errors.New("no")
		}
		return nil
	}
	b.run(nil).ready()
	b.create("web", "local", nil)
	b.fake.Start("web")
	b.fake.Write("web", dockertest.Message{Time: b.now, Text: "one\n"})
	b.want("one")
	b.until("no fault", func() bool { return len(b.env.Status.Faults()) == 0 })
}

func TestWhatIsThereAtTheFirstStart(t *testing.T) {
	for start, want := range map[string][]string{"end": {"new"}, "beginning": {"old", "new"}, "1h": {"old", "new"}} {
		for _, driver := range []string{"local", "json-file"} {
			t.Run(start+" "+driver, func(t *testing.T) {
				b := newBench(t)
				b.now -= int64(time.Minute)
				b.create("web", driver, func(c *dockertest.Container) {
					c.LogPath = b.file("web")
					c.Created = time.Now().Add(-time.Hour)
				})
				b.fake.Start("web")
				b.write("web", "old")
				set := func(c *Config) { c.Start = start }
				b.run(set).ready()
				b.until("followed", func() bool { return b.row("web").State == "following" })
				b.run(set).ready() // before any line has come
				b.until("followed", func() bool { return b.row("web").State == "following" })
				b.now = time.Now().UnixNano()
				b.write("web", "new")
				b.want(want...)
				b.create("later", "local", func(c *dockertest.Container) { c.Created = time.Now() })
				b.fake.Write("later", dockertest.Message{Time: 1e18, Text: "first\n"})
				b.fake.Start("later")
				b.want(append(want, "first")...)
			})
		}
	}
}

func TestPositionsOfPromtailAreGoneOnFrom(t *testing.T) {
	for _, driver := range []string{"local", "json-file"} {
		t.Run(driver, func(t *testing.T) {
			b := newBench(t)
			b.now = time.Now().Add(-time.Hour).Truncate(time.Second).UnixNano()
			cursor := b.now/1e9 + 10
			for _, id := range []string{"known", "unknown"} {
				b.create(id, driver, func(c *dockertest.Container) {
					c.LogPath = b.file(id)
					c.Created = time.Now().Add(-2 * time.Hour)
				})
				b.fake.Start(id)
				b.write(id, "read by Promtail")
			}
			b.now = cursor*1e9 + 5e8
			b.write("known", "in the last second")
			b.now += 1e9
			b.write("known", "not read by Promtail")
			path := filepath.Join(b.dir, "positions.yaml")
			if err := os.WriteFile(path, []byte(fmt.Sprintf("positions:\n  cursor-known: \"%d\"\n  cursor-gone: \"1\"\n", cursor)), 0o600); err != nil {
				t.Fatal(err)
			}
			set := func(c *Config) { c.ImportPromtailPositions = path }
			b.run(set).ready()
			b.want("in the last second", "not read by Promtail")
			b.run(set).ready()
			b.until("followed", func() bool { return b.row("unknown").State == "following" })
			b.now = time.Now().UnixNano()
			b.write("unknown", "new")
			b.want("in the last second", "not read by Promtail", "new")
		})
	}
}

func TestFaultsOfTheConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"endpoint":         func(c *Config) { c.Endpoint = "docker.sock" },
		"container_labels": func(c *Config) { c.ContainerLabels = []string{"stream"} },
		"both become":      func(c *Config) { c.ContainerLabels = []string{"a.b", "a-b"} },
		"start":            func(c *Config) { c.Start = "yesterday" },
		"max_line_size":    func(c *Config) { c.MaxLineSize = 10 },
		"include.names":    func(c *Config) { c.Include = []Selector{{Names: []string{"~("}}} },
		"exclude.labels":   func(c *Config) { c.Exclude = []Selector{{Labels: map[string]string{"a": "!~["}}} },
		"picks every":      func(c *Config) { c.Exclude = []Selector{{}} },
	} {
		c := defaults()
		change(&c)
		errs := c.Validate()
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%s: %v", want, errs)
		}
	}
	c := defaults()
	if errs := c.Validate(); len(errs) > 0 {
		t.Error(errs)
	}
}

// What is written once the input is ready is not skipped, though the agent is killed in the next moment: neither in a log that was there nor in
// that of a container that came since.
func TestAnInputIsReadyOnceItIsSavedWhereItBegins(t *testing.T) {
	for _, driver := range []string{"json-file", "local"} {
		t.Run(driver, func(t *testing.T) {
			b := newBench(t)
			path := filepath.Join(t.TempDir(), "positions")
			var store *positions.Store
			restart := func() {
				t.Helper()
				b.stop()
				if store != nil {
					if err := store.Close(); err != nil {
						t.Fatal(err)
					}
				}
				var err error
				if store, err = positions.Open(path, slog.New(slog.DiscardHandler)); err != nil {
					t.Fatal(err)
				}
				b.book = store.Book("input.docker_logs.test")
				b.run(nil)
			}
			add := func(id string, created time.Time) {
				b.create(id, driver, func(c *dockertest.Container) {
					c.LogPath = b.file(id)
					c.Created = created
				})
				b.fake.Start(id)
			}
			b.now -= int64(time.Minute)
			add("web", time.Now().Add(-time.Hour))
			b.write("web", "old")
			for range 3 { // killed before anything was saved
				restart()
				<-b.book.Urgent()
				b.now = time.Now().UnixNano()
				b.write("web", "before it was ready")
				if b.env.Status.IsReady() || len(b.texts()) > 0 {
					t.Fatalf("it was ready before it was saved where it begins; lines %q", b.texts())
				}
			}
			restart()
			<-b.book.Urgent()
			noted, _ := b.book.Note()
			if err := store.Save(noted); err != nil {
				t.Fatal(err)
			}
			b.ready()
			b.stop()
			b.now = time.Now().UnixNano()
			b.write("web", "one")
			add("new", time.Now())
			b.write("new", "two")
			restart()
			b.until("both lines", func() bool { return len(b.texts()) >= 2 })
			got := b.texts()
			if slices.Sort(got); !slices.Equal(got, []string{"one", "two"}) {
				t.Errorf("got %q", got)
			}
			b.stop()
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
