package docker

import "github.com/moby/moby/client"

// What a writing call of the library is given in tests.
var (
	mobyKill   = client.ContainerKillOptions{Signal: "KILL"}
	mobyRemove = client.ContainerRemoveOptions{Force: true}
)
