input "mysql" "lottery" {
  address = "db"
}

input "mysql" "shop" {
  address = "db"
  enabled = false
}

input "mysql" "fleet" {
  for_each = ["a", "b"]
  address  = "${each.value}:3306"
}

input "mysql" "unset" {
  for_each = split(",", env("UNSET"))   # ERROR: The environment variable UNSET isn't set
  address  = each.value
}

input "docker_logs" {}

processor "relabel" "ok" {
  from = [input.mysql.lottery, input.mysql.shop, input.mysql.fleet, input.mysql.fleet["a"], input.docker_logs, input.mysql.unset["x"]]
}

output "prometheus" "quoted" {
  from = "input.mysql"   # ERROR: Write it without quotes: input.mysql.
}

output "prometheus" "quoted_list" {
  from = [
    "input.mysql",   # ERROR: This is not a reference
    input.mysql.lotery,   # ERROR: There is no input.mysql.lotery; did you mean "input.mysql.lottery"?
    inptu.mysql,   # ERROR: Unknown kind "inptu" in a reference; did you mean "input"?
    input.lottery,   # ERROR: did you mean "input.mysql.lottery"?
    output.prometheus,   # ERROR: An output gives nothing on
    input.mysql.fleet["c"],   # ERROR: There is no input.mysql.fleet["c"]
    input.mysql.lottery["c"],   # ERROR: input.mysql.lottery has no instances
    input.mysql.lottery.x.y,   # ERROR: longer than a reference can be
    input.mysql[0],   # ERROR: longer than a reference can be
    input.mysql[*],   # ERROR: The reference without [*] means all instances.
    input.redis,   # ERROR: There is no input.redis
    processor.relabel.ok,
    processor.relabel.ok,   # ERROR: processor.relabel.ok is named twice
    local.x,   # ERROR: local.x is not a reference
    upper("x"),   # ERROR: This is not a reference
    processor.stages,   # ERROR: There is no processor.stages
  ]
}

output "prometheus" "none" {   # ERROR: Output "prometheus" needs "from"
}

output "prometheus" "empty" {
  from = []   # ERROR: from is an empty list
}

processor "relabel" "each" {
  for_each = ["a", "c"]
  from     = input.mysql.fleet[each.key]   # ERROR: There is no input.mysql.fleet["c"]
}

output "loki" "value" {
  from = input.docker_logs
  url  = input.mysql.lottery   # ERROR: input.mysql.lottery is a reference to components, not a value
}
