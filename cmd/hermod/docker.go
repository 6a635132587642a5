package main

import (
	"context"
	"time"

	"github.com/hermod-agent/hermod/internal/docker"
)

// dockerAnswer is how long Docker may take to say its name while the agent starts.
const dockerAnswer = time.Second

// dockerName asks Docker for the name of the machine that it runs on. Its error says why Docker can't be read, and what to do.
func (a *app) dockerName(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, dockerAnswer)
	defer cancel()
	endpoint, err := docker.ParseEndpoint("", a.getenv)
	if err != nil {
		return "", err
	}
	return docker.HostName(ctx, endpoint)
}

// dockerReadable says why the logs of containers can't be read, nil when they can.
func (a *app) dockerReadable(ctx context.Context) error {
	_, err := a.dockerName(ctx)
	return err
}
