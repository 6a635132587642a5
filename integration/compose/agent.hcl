agent {
  data_dir = "/var/lib/hermod"
  listen   = "0.0.0.0:12345"
  interval = "2s"
}

input "host" "nas" {}

input "docker_logs" "all" {
  start = "beginning"
}

output "remote_write" "mimir" {
  from = input.host.nas
  url  = "http://mimir:8080/api/v1/push"
}

output "prometheus" "lottery" {
  from   = input.host.nas
  listen = "0.0.0.0:9100"
}

output "loki" "main" {
  from  = input.docker_logs.all
  url   = "http://loki:3100/loki/api/v1/push"
  where = { compose_service = "web" }
}
