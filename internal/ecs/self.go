package ecs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// Self tells in single words what task this is. It is safe for concurrent use.
type Self struct {
	getenv    func(string) (string, bool)
	userAgent string

	mu    sync.Mutex // guards what follows; held while the endpoint is asked
	words map[string]string
	// failed is why there are none, and until how long nobody is asked again.
	failed error
	until  time.Time
}

// restAfterFailure is how long an endpoint that didn't answer isn't asked again: a config that asks for five things waits once.
const restAfterFailure = 5 * time.Second

// NewSelf makes a Self. It asks for nothing yet.
func NewSelf(getenv func(string) (string, bool), userAgent string) *Self {
	return &Self{getenv: getenv, userAgent: userAgent}
}

// Get gives the cluster, the family, the revision, the task (its id), the availability_zone or the region. None of them changes while a task lives, so
// the endpoint is asked once.
func (s *Self) Get(ctx context.Context, item string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.words == nil {
		if time.Now().Before(s.until) {
			return "", s.failed
		}
		words, err := s.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil:
			s.failed, s.until = err, time.Now().Add(restAfterFailure)
			return "", err
		}
		s.words = words
	}
	if s.words[item] == "" {
		return "", component.WithRemedy(fmt.Errorf("ECS doesn't tell this task's %s", item), "write it yourself")
	}
	return s.words[item], nil
}

func (s *Self) ask(ctx context.Context) (map[string]string, error) {
	endpoint, err := Endpoint(s.getenv)
	if err != nil {
		return nil, err
	}
	client, err := NewClient(endpoint, Options{UserAgent: s.userAgent})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	t, err := client.Task(ctx)
	if t == nil {
		return nil, err
	}
	// What could be read counts, also where something else couldn't.
	return map[string]string{
		"cluster": t.ClusterName(), "family": t.Family, "revision": t.Revision, "task": t.ID(),
		"availability_zone": t.AvailabilityZone, "region": t.Region(),
	}, nil
}
