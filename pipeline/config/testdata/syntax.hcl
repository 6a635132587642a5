input "mysql" "one_line" { address = "db", user = "a" }   # ERROR: A block on one line holds one attribute

input "mysql" "one_line_too" { address = "db" user = "a" }   # ERROR: A block on one line holds one attribute

input "mysql" "twice" {
  address = "db"
  address = "db2"   # ERROR: "address" is set twice
  user    = "a" "b"   # ERROR: The line goes on after the value
  tables  = ["a" "b"]   # ERROR: Missing item separator
  port    = "x"   # ERROR: "port" must be a number, not text
  ratio   = 'x'   # ERROR: Single quotes are not valid
}

input "mysql" "comma" {
  address = "db",   # ERROR: A comma after an attribute
  usr     = "b"     # ERROR: Unknown attribute "usr" in input "mysql"; did you mean "user"?
}

processor "relabel" "escape" {
  from = input.mysql
  rule {
    regex  = "\d+"     # ERROR: In quotes a backslash is written twice: write \\d
    action = "${1}:9100"   # ERROR: For the group of a regular expression write $1 or $${1}.
  }
  rule {
    regex       = "a\\d+"
    replacement = "${1}"   # ERROR: write $1 or $${1}
  }
  rule {
    replacement = "${name}:1"   # ERROR: Unknown name "name"
  }
}

processor "relabel" "attribute" {
  from = input.mysql
  rule = { regex = "a" }   # ERROR: "rule" is a block, not an attribute
}

processor "stages" "block" {
  from = input.docker_logs
  json {
    fields {   # ERROR: "fields" is an attribute, not a block
      level = "l"
    }
  }
}

loose = 1   # ERROR: The attribute "loose" stands outside of any block

input "docker_logs" {}

input "mysql" "open" {
  address = "db"
  tables  = ["a",
  user    = "x"   # ERROR: Missing item separator

output "prometheus" "after" {
  from  = [input.mysql.open, input.mysql.one_line]
  lsten = "x"   # ERROR: Unknown attribute "lsten"
}

input "mysql" "derived" {
  address  = "db"
  user     = "a" b   # ERROR: The line goes on after the value
  password = "x"
}
