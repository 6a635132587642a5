//go:build integration

package torture

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/integration/lines"
)

// patience bounds every wait for lines: the machine may do much else.
var patience = time.Duration(times(1, 10)) * time.Minute

// world is an agent with one log input, a backend that counts, and a folder for files.
type world struct {
	*testing.T
	loki  *harness.Loki
	agent *harness.Agent
	dir   string
	begun harness.Resources
	// memory is how many bytes the agent may take, 100 MB when it is 0.
	memory int64
	// files is how many more it may hold open at the end, because its pattern matches them.
	files int

	prefix     string // of the names of its containers
	containers int
}

// app is the label of the lines of a world with files.
var app = map[string]string{"app": "a"}

// fileWorld runs an agent that follows the files of its folder which a pattern matches. more are attributes and blocks of the input.
func fileWorld(t *testing.T, u user, pattern, more string) *world {
	t.Helper()
	return fileWorldTo(t, u, harness.NewLoki(t), pattern, more, "")
}

// fileWorldTo is fileWorld with a backend, and attributes and blocks of its output.
func fileWorldTo(t *testing.T, u user, loki *harness.Loki, pattern, more, output string) *world {
	t.Helper()
	return fileWorldWith(t, harness.AgentOptions{User: u.id}, loki, pattern, more, output)
}

// fileWorldWith is fileWorldTo with an agent that is run in another way.
func fileWorldWith(t *testing.T, options harness.AgentOptions, loki *harness.Loki, pattern, more, output string) *world {
	t.Helper()
	w := &world{T: t, loki: loki, dir: harness.Dir(t)}
	options.Config = fmt.Sprintf(`
input "files" "app" {
  paths  = ["%s/%s"]
  labels = { app = "a" }
%s
}

output "loki" "main" {
  from = input.files.app
  url  = %q
%s
}
`, w.dir, pattern, more, w.loki.URL(), output)
	w.agent = harness.NewAgent(t, options)
	return w
}

// dockerWorld runs an agent that reads the logs of its own containers.
func dockerWorld(t *testing.T, u user) *world {
	t.Helper()
	harness.RequireDocker(t)
	w := &world{T: t, loki: harness.NewLoki(t), prefix: fmt.Sprintf("%s-writer-t%d-", harness.RunID(), worlds.Add(1))}
	options := harness.AgentOptions{User: u.id, Config: fmt.Sprintf(`
input "docker_logs" "all" {
  include {
    names = ["~%s.*"]
  }
}

output "loki" "main" {
  from = input.docker_logs.all
  url  = %q
}
`, w.prefix, w.loki.URL())}
	if u.id != 0 {
		options.Groups = []uint32{harness.DockerGroup(t)}
	}
	w.agent = harness.NewAgent(t, options)
	return w
}

var worlds atomic.Int64

// write starts a container of the world.
func (w *world) write(c harness.Writer) *harness.Container {
	w.Helper()
	if c.Name == "" {
		w.containers++
		c.Name = fmt.Sprint(w.prefix, w.containers)
	}
	return c.Start(w.T)
}

// config is the agent's as it stands in its file.
func config(w *world) string {
	w.Helper()
	text, err := os.ReadFile(w.agent.ConfigFile())
	if err != nil {
		w.Fatal(err)
	}
	return string(text)
}

// withAttribute adds an attribute to the first input of a config.
func withAttribute(config, attribute string) string {
	input := strings.Index(config, "\ninput ")
	behind := input + strings.Index(config[input:], "{\n") + 2
	return config[:behind] + "  " + attribute + "\n" + config[behind:]
}

// start runs the agent and notes what it holds.
func (w *world) start() *world {
	w.Helper()
	w.agent.Start()
	w.agent.AwaitReady()
	harness.Eventually(w.T, time.Minute, "the agent tells what it holds", func() (bool, string) {
		var err error
		w.begun, err = w.agent.Resources()
		return err == nil, fmt.Sprint(err)
	})
	return w
}

// came waits until all that is wanted came, notes it in the row, and asserts that nothing else did.
func (w *world) came(r *row, match map[string]string, want map[string]int) {
	w.Helper()
	harness.Eventually(w.T, patience, "all lines arrive", func() (bool, string) {
		missing, repeated, _, examples := w.loki.Tally(match).Compare(want)
		return missing == 0, fmt.Sprintf("%d missing, %d came again: %v; answers %v", missing, repeated, examples, w.loki.Answers())
	})
	w.count(r, match, want)
}

// count notes what has come in the row.
func (w *world) count(r *row, match map[string]string, want map[string]int) (missing int) {
	w.Helper()
	missing, repeated, unknown, examples := w.loki.Tally(match).Compare(want)
	for _, n := range want {
		r.Written += n
	}
	r.Delivered, r.Repeated = r.Written-missing, repeated
	if unknown > 0 {
		w.Errorf("%d lines were never written: %v", unknown, examples)
	}
	return missing
}

// once asserts that nothing came again.
func (w *world) once(r *row) {
	w.Helper()
	if r.Repeated != 0 {
		w.Errorf("%d lines came again", r.Repeated)
	}
}

// healthy asserts that the agent has conserved everything, and that nothing piles up in it.
func (w *world) healthy() {
	w.Helper()
	w.agent.AwaitReady()
	harness.Conserved(w.T, w.agent)
	if w.begun.Goroutines == 0 {
		w.Fatal("the agent doesn't tell its goroutines")
	}
	var now harness.Resources
	harness.Eventually(w.T, time.Minute, "the agent lets go of what it used", func() (bool, string) {
		var err error
		now, err = w.agent.Resources()
		if err != nil {
			return false, err.Error()
		}
		// A connection to the backend with its goroutines stays, and a followed log or two.
		return len(now.Descriptors) <= len(w.begun.Descriptors)+12+w.files && now.Goroutines <= w.begun.Goroutines+24,
			fmt.Sprintf("%d descriptors, at the beginning %d; %d goroutines, at the beginning %d; %q",
				len(now.Descriptors), len(w.begun.Descriptors), now.Goroutines, w.begun.Goroutines, now.Descriptors)
	})
	if now.RSS > cmp.Or(w.memory, 100<<20) {
		w.Errorf("the agent takes %d MB", now.RSS>>20)
	}
}

// losses are those that the agent's input has counted.
func (w *world) losses(input string) map[string]uint64 {
	w.Helper()
	status, err := w.agent.Status()
	if err != nil {
		w.Fatal(err)
	}
	return harness.NodeOf(w.T, status, input).Losses
}

// logFile is a log that a test writes to and rotates.
type logFile struct {
	t      *testing.T
	path   string
	source string
	file   *os.File
	next   int
	turns  int
	others map[string]int // lines besides the numbered ones
}

func newLogFile(t *testing.T, path, source string) *logFile {
	t.Helper()
	l := &logFile{t: t, path: path, source: source}
	l.create()
	t.Cleanup(func() { l.file.Close() })
	return l
}

func (l *logFile) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *logFile) create() {
	l.t.Helper()
	var err error
	l.file, err = os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	l.check(err)
}

// write appends numbered lines, in pieces that end amid lines.
func (l *logFile) write(n int) {
	l.t.Helper()
	var b strings.Builder
	for range n {
		b.WriteString(lines.Numbered(l.source, l.next))
		b.WriteByte('\n')
		l.next++
	}
	for text := b.String(); text != ""; {
		piece := text[:min(len(text), 4093)]
		text = text[len(piece):]
		_, err := l.file.WriteString(piece)
		l.check(err)
	}
}

// paced writes lines at a rate for as long as it takes, while other things happen.
func (l *logFile) paced(n, rate int) {
	l.t.Helper()
	began, first := time.Now(), l.next
	for l.next < first+n {
		l.write(min(rate/100, first+n-l.next))
		if early := time.Until(began.Add(time.Duration(l.next-first) * time.Second / time.Duration(rate))); early > 0 {
			<-time.After(early)
		}
	}
}

// rotate renames the file and goes over to a new one; what is written between the two goes to the old one.
func (l *logFile) rotate(to string, late int) {
	l.t.Helper()
	l.check(os.Rename(l.path, to))
	l.write(late)
	old := l.file
	l.create()
	l.check(old.Close())
}

// dated is a name for the next generation.
func (l *logFile) dated() string {
	l.turns++
	return fmt.Sprintf("%s-%08d", l.path, l.turns)
}

// shift moves all generations on by one, so that path.1 is free, and gives that path. keep is how many there are at most.
func (l *logFile) shift(keep int) string {
	l.t.Helper()
	for i := keep; i > 0; i-- {
		from := fmt.Sprintf("%s.%d", l.path, i)
		if _, err := os.Lstat(from); err == nil {
			l.check(os.Rename(from, fmt.Sprintf("%s.%d", l.path, i+1)))
		}
	}
	return l.path + ".1"
}

// copytruncate does what logrotate's directive of this name does; between is called between the two.
func (l *logFile) copytruncate(to string, between func()) {
	l.t.Helper()
	content, err := os.ReadFile(l.path)
	l.check(err)
	l.check(os.WriteFile(to, content, 0o644))
	if between != nil {
		between()
	}
	l.check(os.Truncate(l.path, 0))
}

// want is how often each line that was written must arrive.
func (l *logFile) want() map[string]int {
	want := make(map[string]int, l.next)
	for i := range l.next {
		want[lines.Numbered(l.source, i)] = 1
	}
	maps.Copy(want, l.others)
	return want
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) log(name string) *logFile {
	w.Helper()
	return newLogFile(w.T, w.path(name), strings.ReplaceAll(name, ".", "-"))
}

// extra writes a line that is none of the numbered ones.
func (l *logFile) extra(text string) {
	l.t.Helper()
	_, err := l.file.WriteString(text + "\n")
	l.check(err)
	l.wants(text)
}

// wants says that a line besides the numbered ones is written once, or once more.
func (l *logFile) wants(text string) {
	if l.others == nil {
		l.others = map[string]int{}
	}
	l.others[text]++
}
