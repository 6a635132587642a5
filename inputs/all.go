// Package inputs lists the inputs that the agent knows. A new one is a folder, an import and a name here.
package inputs

import (
	"github.com/hermod-agent/hermod/inputs/containers"
	dockerlogs "github.com/hermod-agent/hermod/inputs/docker_logs"
	ecstask "github.com/hermod-agent/hermod/inputs/ecs_task"
	"github.com/hermod-agent/hermod/inputs/files"
	"github.com/hermod-agent/hermod/inputs/host"
	"github.com/hermod-agent/hermod/inputs/mysql"
	"github.com/hermod-agent/hermod/inputs/nginx"
	"github.com/hermod-agent/hermod/inputs/redis"
	"github.com/hermod-agent/hermod/inputs/self"
	"github.com/hermod-agent/hermod/pipeline/component"
)

// All returns the definitions of every input.
func All() []component.Definition {
	return []component.Definition{
		containers.Definition,
		dockerlogs.Definition,
		ecstask.Definition,
		files.Definition,
		host.Definition,
		nginx.Definition,
		mysql.Definition,
		redis.Definition,
		self.Definition,
	}
}
