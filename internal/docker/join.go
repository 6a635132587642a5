package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// joinedAlias marks, in Docker, the networks that an agent joined by itself: the name by which it is known there. It tells a restarted agent
// which of its networks it may leave.
const joinedAlias = "hermod-joined"

// endedFor is how long a container that was told to stop, or has ended, isn't joined again: it is still there while it ends, and who looked it up
// before may come late.
const endedFor = 30 * time.Second

// postTimeout bounds a request to join or to leave.
const postTimeout = 15 * time.Second

// Joiner joins the container of this process to networks, for as long as there is a server on them that is collected from, and touches
// nothing else: its requests go through a guard of their own that lets those for this one container pass. It is safe for concurrent use.
type Joiner struct {
	o      Options
	own    string // full id
	engine *Engine
	stop   context.CancelFunc
	jobs   sync.WaitGroup

	// posting has one request at a time, so that joining and leaving one network don't pass each other, and guards conn, which is kept: to
	// leave before docker compose down removes the network, every round trip counts.
	posting sync.Mutex
	conn    *conn

	mu       sync.Mutex             // guards what follows
	networks map[string]*membership // by id
	ended    map[string]end         // containers that were told to stop, or have ended
}

// end is when a container was told to stop or ended, by the engine's clock, and when we heard of it.
type end struct{ at, heard time.Time }

// membership is a network that this process joined, or found itself joined to by a process before it.
type membership struct {
	name  string
	users map[any]server // who needs it -> what for
}

// server is a container that is collected from, as it was started when its network was joined.
type server struct {
	id      string
	started time.Time
}

// AcquireJoiner returns the process' Joiner for an engine. own is the id of the container that this process runs in.
func AcquireJoiner(p *component.Pool, engine *Engine, own string) (*Joiner, func() error, error) {
	return component.Acquire(p, "join "+engine.o.Endpoint.Key(), func() (*Joiner, error) {
		ctx, cancel := context.WithCancel(context.Background())
		j := &Joiner{o: engine.o, own: own, engine: engine, stop: cancel, networks: map[string]*membership{}, ended: map[string]end{}}
		j.jobs.Go(func() { j.watch(ctx) })
		return j, nil
	})
}

// Close leaves all networks that were joined.
func (j *Joiner) Close() error {
	j.stop()
	j.jobs.Wait()
	j.mu.Lock()
	for _, m := range j.networks {
		clear(m.users)
	}
	j.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), postTimeout)
	defer cancel()
	j.posting.Lock()
	defer j.posting.Unlock()
	j.leaveIdle(ctx)
	if j.conn != nil {
		j.conn.close()
	}
	return nil
}

// Joined says whether a network of this process' container is one that an agent joined by itself.
func (n *Network) Joined() bool { return slices.Contains(n.Aliases, joinedAlias) }

// Join joins the network for a user, who reaches a container there, unless it was joined before.
func (j *Joiner) Join(ctx context.Context, user any, n Network, c *Container) error {
	j.posting.Lock()
	defer j.posting.Unlock()
	j.mu.Lock()
	over, m := j.isOver(c), j.networks[n.ID]
	j.mu.Unlock()
	if over {
		return stopped(c, n)
	}
	if m == nil {
		if err := j.post(ctx, n.ID, "connect", connectBody(j.own, n.Name)); err != nil {
			var answer *Error
			if !errors.As(err, &answer) || answer.Status != http.StatusForbidden && answer.Status != http.StatusConflict {
				return component.WithRemedy(fmt.Errorf("join the network %s for the container %s: %w", n.Name, c.Name, err),
					"join_networks needs a Docker socket that can be written to, and POST on /networks allowed where a proxy stands before it")
			}
			// Docker answers so when we are there already, which is what was wanted.
		} else {
			j.o.Log.Info("joined a network", "network", n.Name, "for", c.Name)
		}
	}
	if !j.use(user, n, c) {
		j.leaveIdle(context.WithoutCancel(ctx))
		return stopped(c, n)
	}
	return nil
}

// Use notes that a user needs a network that was joined before.
func (j *Joiner) Use(ctx context.Context, user any, n Network, c *Container) error {
	if j.use(user, n, c) {
		return nil
	}
	j.posting.Lock()
	defer j.posting.Unlock()
	j.leaveIdle(context.WithoutCancel(ctx))
	return stopped(c, n)
}

// use notes a user of a network that we are on. It is false for a container that was told to stop, or ended, since it was looked up: nobody would
// tell us to leave its network then.
func (j *Joiner) use(user any, n Network, c *Container) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	m := j.networks[n.ID]
	if m == nil {
		m = &membership{name: n.Name, users: map[any]server{}}
		j.networks[n.ID] = m
	}
	if j.isOver(c) {
		return false
	}
	for id, other := range j.networks { // it is on another network now
		if id != n.ID {
			delete(other.users, user)
		}
	}
	m.users[user] = server{c.ID, c.Started}
	return true
}

// isOver says whether a container was told to stop, or has ended, since it was started. mu is held.
func (j *Joiner) isOver(c *Container) bool {
	e, ok := j.ended[c.ID]
	return ok && time.Since(e.heard) < endedFor && !c.Started.After(e.at)
}

func stopped(c *Container, n Network) error {
	return component.WithRemedy(fmt.Errorf("the container %s is being stopped, so its network %s isn't joined", c.Name, n.Name), fmt.Sprintf("start it again (docker start %s)", c.Name))
}

// Done says that a user needs nothing any more.
func (j *Joiner) Done(user any) {
	j.mu.Lock()
	for _, m := range j.networks {
		delete(m.users, user)
	}
	j.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), postTimeout)
	defer cancel()
	j.posting.Lock()
	defer j.posting.Unlock()
	j.leaveIdle(ctx)
}

// watch follows what happens to the containers and leaves a network at once when the last server there is told to stop: docker compose down
// removes the network right after that, and can't while somebody is on it.
func (j *Joiner) watch(ctx context.Context) {
	sub := j.engine.Subscribe()
	defer sub.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sub.C():
		}
		for _, c := range sub.Take() {
			j.note(&c)
		}
		j.posting.Lock()
		j.leaveIdle(ctx)
		j.posting.Unlock()
	}
}

// note takes in what happened to a container.
func (j *Joiner) note(c *Container) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	switch {
	case c.Gone:
		j.ended[c.ID] = end{now, now}
	case !c.Stopping.IsZero():
		j.ended[c.ID] = end{c.Stopping, now}
	case !c.Running:
		j.ended[c.ID] = end{c.Finished, now}
	default:
		delete(j.ended, c.ID)
		return
	}
	for id, e := range j.ended {
		if now.Sub(e.heard) >= endedFor {
			delete(j.ended, id)
		}
	}
	// Events come later than answers: who joined for a start after this end is not meant by it.
	for _, m := range j.networks {
		for user, s := range m.users {
			if s.id == c.ID && (c.Gone || !s.started.After(j.ended[c.ID].at)) {
				delete(m.users, user)
			}
		}
	}
}

// leaveIdle leaves the networks that nobody needs any more. posting is held.
func (j *Joiner) leaveIdle(ctx context.Context) {
	var idle []string
	j.mu.Lock()
	for id, m := range j.networks {
		if len(m.users) == 0 {
			idle = append(idle, id)
		}
	}
	j.mu.Unlock()
	for _, id := range idle {
		j.mu.Lock()
		m := j.networks[id]
		j.mu.Unlock()
		err := j.post(ctx, id, "disconnect", disconnectBody(j.own))
		var answer *Error
		switch {
		case err == nil:
			j.o.Log.Info("left a network: no server there is collected from", "network", m.name)
		case errors.As(err, &answer) && answer.Status < 500:
			// The network is gone, or we are not on it.
		default:
			j.o.Log.Warn("can't leave a network", "network", m.name, "err", err, "remedy", fmt.Sprintf("docker network disconnect %s %s", m.name, ShortID(j.own)))
			continue // at the next occasion
		}
		j.mu.Lock()
		delete(j.networks, id)
		j.mu.Unlock()
	}
}

// post sends one of the two requests. posting is held.
func (j *Joiner) post(ctx context.Context, network, action string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	if j.conn == nil {
		c, err := connectAs(ctx, j.o.Endpoint, j.o.UserAgent, j.own)
		if err != nil {
			return explain(ctx, j.o.Endpoint, err)
		}
		j.conn = c
	}
	c := j.conn
	u := url.URL{Scheme: c.endpoint.scheme(), Host: c.endpoint.host(), Path: c.endpoint.Base + "/v" + c.version + "/networks/" + network + "/" + action}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", c.userAgent)
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(r)
	if err != nil {
		c.close()
		j.conn = nil // the engine may be another one when it comes back
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return answerError(resp)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	return err
}

// connectBody and disconnectBody are all that is ever sent to Docker, to the byte. The priority keeps the network from becoming the one by
// which the container reaches the world; engines before 28 ignore it. Docker's first network takes no aliases.
func connectBody(own, network string) []byte {
	if network == "bridge" {
		return []byte(`{"Container":"` + own + `","EndpointConfig":{"GwPriority":-100}}`)
	}
	return []byte(`{"Container":"` + own + `","EndpointConfig":{"Aliases":["` + joinedAlias + `"],"GwPriority":-100}}`)
}

func disconnectBody(own string) []byte { return []byte(`{"Container":"` + own + `"}`) }
