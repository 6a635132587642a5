# One of several machines behind a load balancer. A scraper would reach another one of them at each scrape, so each machine pushes, and
# says with everything which one it is.

agent {
  data_dir = "/var/lib/hermod"
  listen   = env("HERMOD_LISTEN", "127.0.0.1:12345")

  # hostname() is HERMOD_HOST where that is set: the id of the instance, see README.md. Metrics have it as their instance by themselves,
  # logs get it here.
  labels = {
    instance = hostname()
    service  = env("SERVICE", "web")
    zone     = env("ZONE", "none")
  }

  # The machines come and go: what is queued when one is taken away has this long to get out. Docker and the load balancer have to give it
  # the time, see stop_grace_period.
  drain_timeout = "20s"
}

input "host" {
  netdev {
    device_exclude = "^(veth.*|br-.*|docker.*)$"
  }
}

input "docker_logs" {
  start = "beginning" # a machine is new when the agent starts: what was written before belongs to it too
}

output "remote_write" "metrics" {
  from   = input.host
  url    = env("METRICS_URL")
  tenant = env("TENANT", "")
  queue {
    max_size = "32MiB"
  }
}

# What the load balancer asks every few seconds is not worth keeping.
processor "filter" "health_checks" {
  from       = input.docker_logs
  drop_lines = ["ELB-HealthChecker"]
}

output "loki" {
  from   = processor.filter.health_checks
  url    = env("LOKI_URL")
  tenant = env("TENANT", "")
  queue {
    max_size = "32MiB"
  }
}
