input "mysql" "literal" {
  address = "db"
  user    = "a"
  pasword = "hunter2"   # ERROR: Unknown attribute "pasword"
}

input "mysql" "environment" {
  address  = "db"
  password = parseint(env("NOT_A_NUMBER"), 10)   # ERROR: parseint() can't take what it is given
  port     = env("NOT_A_NUMBER")                 # ERROR: must be a number, not text
}

input "mysql" "list" {
  address  = "db"
  user     = "a"
  password = ["hunter2"]   # ERROR: "password" must be text, not a list
}

input "mysql" "heredoc" {
  address  = "db"
  user     = "a"
  password = <<-EOT
    hunter2 ${nothing}   # ERROR: Unknown name "nothing"
  EOT
}

output "loki" "url" {
  from = input.docker_logs
  url  = "https://u:hunter2@host:port/x"   # ERROR: The value is not a URL
}

output "loki" "duration" {
  from       = input.docker_logs
  url        = "https://u:${env("PASSWORD")}#x@host"   # ERROR: The value is not a URL
  batch_wait = env("PASSWORD")                         # ERROR: The value is not a duration
  batch_size = env("PASSWORD")                         # ERROR: The value is not a size
  headers    = { (env("PASSWORD")) = ["x"] }           # ERROR: must be text
}

locals {
  word = env("PASSWORD")
  map  = { hunter2x = 1 }
}

processor "relabel" "regexp" {
  from = input.docker_logs
  rule {
    regex = "${local.word}("   # ERROR: The value is not a regular expression
    action = local.map[local.word]   # ERROR: Invalid index
  }
}

input "docker_logs" {}

output "loki" "validate" {
  from = input.docker_logs
  url  = "http://loki"
  basic_auth {
    user     = "${env("PASSWORD")}:x"   # ERROR: A user can't hold a colon, as (not shown) does
    password = "p"
  }
}
