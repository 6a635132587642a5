package docker

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
)

// An inspection may be answered before a container ends, and heard of after the event of its end.
func TestAnAnswerFromBeforeAnEndTakesNothingOfItBack(t *testing.T) {
	e := New(Options{Endpoint: Endpoint{Network: "unix", Address: filepath.Join(t.TempDir(), "none")}})
	defer func() { _ = e.Close() }()
	begin := time.Now()
	running := Container{ID: "web", Name: "web", Running: true, State: "running", PID: 42, Started: begin, Starts: 1, Inspected: true}
	x := &entry{c: running, looking: true}
	e.containers["web"] = x
	e.event(t.Context(), nil, &events.Message{
		Type: events.ContainerEventType, Action: events.ActionDie, TimeNano: begin.Add(time.Second).UnixNano(),
		Actor: events.Actor{ID: "web", Attributes: map[string]string{"exitCode": "137"}},
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.apply(x, &running, nil)
	if c := x.c; c.Running || c.State != "exited" || c.PID != 0 || c.ExitCode != 137 || !c.Finished.Equal(begin.Add(time.Second)) {
		t.Errorf("%+v", c)
	}
}
