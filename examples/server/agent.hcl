# One of many servers: this file is the same on all of them. What differs, and what is secret, stands in the environment file beside it.
# docker.hcl is read too where it lies beside this file.

agent {
  data_dir = "/var/lib/hermod"
  listen   = env("HERMOD_LISTEN", "127.0.0.1:12345") # hermod status

  # On every series and every log line, beside the machine's name. What all servers share tells them apart from other fleets; the role
  # tells one kind of server from another.
  labels = {
    instance = hostname()
    site     = env("SITE", "default")
    role     = env("ROLE", "server")
  }
}

input "host" {
  netdev {
    device_exclude = "^(veth.*|br-.*|docker.*)$"
  }
}

# The group adm reads these on Debian and its descendants. Where journald alone has the log, install rsyslog, or leave this block out.
input "files" "system" {
  paths   = ["/var/log/*.log", "/var/log/syslog", "/var/log/messages", "/var/log/{nginx,apache2}/*.log"]
  exclude = ["*.gz", "dpkg.log", "alternatives.log"]
  start   = "24h" # at the very first start: files of the last day whole, older ones from their end
  labels  = { job = "files" }
}

input "self" {
  interval = "1m"
}

output "remote_write" "mimir" {
  from   = input
  url    = env("MIMIR_URL")
  tenant = env("TENANT", "servers")
  basic_auth {
    username = env("PUSH_USER", "hermod")
    password = env("PUSH_PASSWORD")
  }
}

# What Loki can't take now waits in the files: nothing is lost while it is down.
output "loki" {
  from   = input
  url    = env("LOKI_URL")
  tenant = env("TENANT", "servers")
  basic_auth {
    username = env("PUSH_USER", "hermod")
    password = env("PUSH_PASSWORD")
  }
}
