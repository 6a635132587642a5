# Put this file beside agent.hcl on servers with Docker, together with hermod.service.d/docker.conf: it lets the agent use the socket.

input "docker_logs" {
  labels = { job = "docker" }

  exclude {
    labels = { "hermod.logs" = "off" } # a container with this label is not read
  }
}

input "containers" {
  container_labels = ["com.docker.compose.project", "com.docker.compose.service"]
}
