input "host" "nas" {
  procfs = "/proc   # ERROR: This text has no closing quote on its line
}

input "mysql" "a" { basic { user = "x" } }   # ERROR: A block on one line holds one attribute

output "prometheus" "p" {
  from  = [input.mysql.a, input.host.nas, input.hots]   # ERROR: There is no input.hots; did you mean "input.host"?
  lsten = "x"   # ERROR: Unknown attribute "lsten"
}
