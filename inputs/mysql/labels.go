package mysql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hermod-agent/hermod/internal/discover"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// labelNames are those that may stand behind hermod.mysql. on a container, besides port and secret.
func labelNames() []string { return []string{"user", "collect"} }

// labelled is the config for a container, made of the block's and of its labels. Whatever these say, the container is what is connected to.
func (c *Config) labelled(f *discover.Found) (*Config, error) {
	own := *c
	own.Discovery = discover.Config{}
	own.Address = f.Address
	if user, ok := f.Labels["user"]; ok {
		own.User = user
	}
	if f.Secret.IsSet() {
		own.Password = f.Secret
	}
	if list, ok := f.Labels["collect"]; ok {
		own.Collect = slices.Clone(c.Collect)
		all := names()
		for _, name := range strings.Split(list, ",") {
			name = strings.TrimSpace(name)
			if !slices.Contains(all, name) {
				return nil, component.WithRemedy(fmt.Errorf("the label hermod.mysql.collect of the container %s: there is no collector %q%s", f.Container, name, config.Suggest(name, all)),
					"write names of collectors with commas between, like info_schema.processlist,binlog_size")
			}
			own.Collect = append(own.Collect, name)
		}
	}
	return &own, nil
}
