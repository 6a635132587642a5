package main

import (
	"context"

	"github.com/hermod-agent/hermod/internal/aws"
	"github.com/hermod-agent/hermod/internal/ecs"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// cloudMetadata is what the functions ec2 and ecs of a config ask. Nobody is asked before a config calls one of them.
func (a *app) cloudMetadata(ctx context.Context) func(function, item string) (string, error) {
	machine := aws.NewMetadata(a.getenv, nil)
	task := ecs.NewSelf(a.getenv, "hermod/"+version)
	return func(function, item string) (string, error) {
		ask := machine.Get
		if function == "ecs" {
			ask = task.Get
		}
		value, err := ask(ctx, item)
		if err != nil {
			remedy, what := component.Remedy(err)
			return "", config.Remedied(what, remedy)
		}
		return value, nil
	}
}
