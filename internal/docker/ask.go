package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// api is the connection of the running session, or one made for this question, which is kept.
func (e *Engine) api(ctx context.Context) (*conn, error) {
	e.mu.Lock()
	c := e.conn
	e.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := connect(ctx, e.o.Endpoint, e.o.UserAgent)
	if err != nil {
		return nil, e.told(ctx, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != nil || e.ctx.Err() != nil {
		defer c.close()
		if e.conn == nil {
			return nil, e.ctx.Err()
		}
		return e.conn, nil
	}
	e.conn = c
	return c, nil
}

// Inspect asks the engine for a container, by its name or id, as it is now. A container that isn't there is an *Error that is NotFound.
func (e *Engine) Inspect(ctx context.Context, name string) (Container, error) {
	c, err := e.api(ctx)
	if err != nil {
		return Container{}, err
	}
	got, err := c.inspect(ctx, name)
	return got, e.told(ctx, err)
}

// Labelled asks the engine for the ids of the containers that have all of the labels ("name=value"), running ones first.
func (e *Engine) Labelled(ctx context.Context, labels ...string) ([]string, error) {
	c, err := e.api(ctx)
	if err != nil {
		return nil, err
	}
	list, err := c.listLabelled(ctx, labels)
	if err != nil {
		return nil, e.told(ctx, err)
	}
	var running, others []string
	for i := range list {
		if list[i].running() {
			running = append(running, list[i].ID)
		} else {
			others = append(others, list[i].ID)
		}
	}
	return append(running, others...), nil
}

// told leaves the engine's own answers as they are, and says of everything else why the engine can't be reached.
func (e *Engine) told(ctx context.Context, err error) error {
	var answer *Error
	switch {
	case err == nil, errors.As(err, &answer) && answer.Status != 401 && answer.Status != 403, errors.Is(ctx.Err(), context.Canceled):
		return err
	case ctx.Err() != nil:
		return component.WithRemedy(fmt.Errorf("docker at %s didn't answer in time", e.o.Endpoint), "see whether docker ps answers; if Docker is slow, raise timeout in the block")
	}
	return explain(ctx, e.o.Endpoint, err)
}

// Ask checks once that the engine answers and may be asked for its containers, and says what it is.
func (e *Engine) Ask(ctx context.Context) (string, error) {
	c, err := e.api(ctx)
	if err != nil {
		return "", err
	}
	info, err := c.info(ctx)
	if err != nil {
		return "", e.told(ctx, err)
	}
	list, err := c.list(ctx)
	if err != nil {
		return "", e.told(ctx, err)
	}
	return fmt.Sprintf("Docker %s at %s, %d containers", info.ServerVersion, e.o.Endpoint, len(list)), nil
}
