agent {
  listen        = "12345"       # ERROR: write "127.0.0.1:12345"
  interval      = "30s"
  timeout       = "1m"          # ERROR: The timeout 1m is longer than the interval 30s
  log_level     = "warning"     # ERROR: "warning" is not one of debug, info, warn, error; did you mean "warn"?
  labels        = { "a-b" = "x" }   # ERROR: "a-b" is not a name for a label
  drain_timeout = "-5s"         # ERROR: It can't be negative
  nonsense {                    # ERROR: Unknown block "nonsense" in agent
  }
}

agent {   # ERROR: The agent block stands twice
}

input "host" "from" {
  from  = input.mysql       # ERROR: "from" makes no sense in input "host"
  where = { a = "b" }       # ERROR: It is for processors and outputs
}

input "docker_logs" {
  interval   = "15s"   # ERROR: "interval" makes no sense in input "docker_logs"
  max_series = 5       # ERROR: It is for inputs that collect metrics.
  labels     = { job = "x", __a = "b" }   # ERROR: Names that begin with __
}

output "prometheus" "interval" {
  from     = input.host
  interval = "15s"          # ERROR: "interval" makes no sense in output "prometheus"
  labels   = { a = "b" }    # ERROR: agent.labels
}

input "mysql" "limits" {
  address    = "db"
  interval   = "15"    # ERROR: "15" is not a duration
  timeout    = "0s"    # ERROR: The timeout is more than 0
  max_series = 0       # ERROR: max_series is at least 1
  labels     = { job = "x" }   # ERROR: The label "job" has an attribute of its own
  instance   = ["x"]   # ERROR: "instance" must be text, not a list
}

input "mysql" "slow" {
  address  = "db"
  interval = "10s"
  timeout  = "11s"   # ERROR: The timeout 11s is longer than the interval 10s
}

input "mysql" "number" {
  address  = "db"
  interval = 15   # ERROR: "interval" must be a duration, not a number
}

output "loki" "where" {
  from  = input.docker_logs
  url   = "loki:3100/push"   # ERROR: Write "http://loki:3100/push".
  where = {
    container = "~web-("     # ERROR: "web-(" is not a regular expression: missing closing )
    stream    = ["a"]        # ERROR: For one of several values
    image     = "!~x["       # ERROR: missing closing ]
    ok        = "!~a|b"
  }
}

output "loki" "where_text" {
  from       = input.docker_logs
  url        = "https://loki"
  where      = "x"       # ERROR: "where" must be a map, not text
  batch_size = "1G"      # ERROR: Write "1GiB" (powers of 1024) or "1GB" (powers of 1000).
  interval   = null      # ERROR: "interval" makes no sense
  tls {
    ca_fil = "x"         # ERROR: Unknown attribute "ca_fil" in tls in output "loki"; did you mean "ca_file"?
  }
  tls {                  # ERROR: The block "tls" stands twice
  }
  basic_auth "x" {       # ERROR: A block "basic_auth" has no name # ERROR: Basic_auth in output "loki" needs "user" # ERROR: needs "password"
  }                      # the block above
}
