# What the agent does on this box: `hermod help input host` and the like explain each block.

agent {
  data_dir = "/var/lib/hermod" # up to where each log was read; a volume in the compose file
  listen   = env("HERMOD_LISTEN", "127.0.0.1:12345")

  docker {
    # In a network of its own the agent joins those of the projects below, and leaves each with its last server.
    join_networks = env("JOIN_NETWORKS", "no") == "yes"
  }
}

# CPU, memory, disks, network: the numbers of the box, not those of the container.
input "host" {
  netdev {
    device_exclude = "^(veth.*|br-.*|docker.*)$" # each container has one of these; the box's own ports are what counts
  }
}

# What each container takes of them.
input "containers" {
  container_labels = ["com.docker.compose.project", "com.docker.compose.service"]
}

# The databases of the other projects. A container asks for it by labels, as those in the folder projects do; here stand only the passwords,
# each under the name that a label may use.
input "mysql" "projects" {
  discover = true
  secrets = {
    lottery = env("LOTTERY_PASSWORD", "")
    wiki    = env("WIKI_PASSWORD", "")
  }
}

input "redis" "projects" {
  discover = true
  secrets = {
    lottery = env("LOTTERY_PASSWORD", "")
    wiki    = env("WIKI_PASSWORD", "")
  }
}

# The logs of all containers. Those whose names fit an exclude block are left out.
input "docker_logs" {
  labels = { instance = hostname() } # the same name that the metrics have

  exclude {
    labels = { "hermod.logs" = "off" } # a container with this label is not read
  }
}

# How the agent itself fares.
input "self" {}

output "remote_write" "prometheus" {
  from = input
  url  = env("PROMETHEUS_URL", "http://127.0.0.1:9090/api/v1/write")
}

output "loki" {
  from = input.docker_logs
  url  = env("LOKI_URL", "http://127.0.0.1:3100/loki/api/v1/push")
}
