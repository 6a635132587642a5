package redis

import (
	"fmt"

	"github.com/hermod-agent/hermod/internal/discover"
	"github.com/hermod-agent/hermod/pipeline/component"
)

// labelled is the config for a container, made of the block's and of its labels. Whatever these say, the container is what is connected to.
func (c *Config) labelled(f *discover.Found) (*Config, error) {
	own := *c
	own.Discovery = discover.Config{}
	own.Address = f.Address
	own.Password = f.Secret
	switch user, named := f.Labels["user"]; {
	case named:
		own.User = user
	case !f.Secret.IsSet():
		own.User = "" // the block's user is for those that name its password
	}
	if own.User != "" && !own.Password.IsSet() {
		return nil, component.WithRemedy(fmt.Errorf("the label hermod.redis.user of the container %s is %q, and no label names a password", f.Container, own.User),
			"add the label hermod.redis.secret with the name of a secret of the block")
	}
	return &own, nil
}
