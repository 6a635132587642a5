inptu "host" {   # ERROR: Unknown block "inptu"; did you mean "input"?
}

mysql "lottery" {   # ERROR: Write input "mysql" "NAME" { ... }.
}

input {   # ERROR: The input has no type
}

input "loki" "x" {   # ERROR: There is no input of type "loki", but an output
}

input "mysql" "a b" {   # ERROR: "a b" can't be the name of a block
}

input "mysql" "1" {   # ERROR: "1" can't be the name of a block
}

input "mysql" "twice" {
  address = "a"
}

input "mysql" "twice" {   # ERROR: There are two blocks input.mysql.twice
  address = "b"
}

input "mysql" {   # ERROR: Input "mysql" needs a name
  address = "b"
}

input "host" {}

input "host" {   # ERROR: There are two blocks input.host
}

input "mysql" "a" "b" {   # ERROR: A third name for the input
  address = "x"
}

input "mysql" "missing" {   # ERROR: Input "mysql" needs "address"
  verbose = "maybe"   # ERROR: "verbose" must be true or false, not text
  tables  = "a"       # ERROR: Write it in brackets: tables = [...].
}

input "mysql" "types" {
  address = { a = 1 }   # ERROR: "address" must be text, not a map
  port    = 1.5         # ERROR: "port" must be a whole number
  ratio   = "x"         # ERROR: "ratio" must be a number, not text
  tables  = ["a", ["b"], null]   # ERROR: "tables" at index 1 must be text, not a list # ERROR: null is not a value here
}

input "files" "unset" {   # ERROR: encoding: it must be set where the name doesn't tell it
  paths = ["-"]
}

input "mysql" "both" {
  address       = "a"
  user          = "u"
  password      = "x"
  password_file = "y"   # ERROR: Both "password" and "password_file" are set
}

input "mysql" "secret_file" {
  address       = "a"
  user          = "u"
  password_file = "nowhere"   # ERROR: The secret's file: testdata/nowhere doesn't exist
}

input "mysql" "validate" {
  address  = "a"
  password = "x"   # ERROR: A password needs a user
}

input "mysql" "validate_later" {
  address  = "a"
  usr      = "x"   # ERROR: did you mean "user"?
  password = "x"
}

processor "relabel" "rules" {
  from = input.mysql
  rule {
    action = "replace"
  }
  rule {
    source_labels = ["a"]   # ERROR: Labeldrop looks at all labels
    action        = "labeldrop"
  }
}

output "loki" "auth" {
  from = input.files
  url  = "http://loki"
  basic_auth {
    user     = "a:b"   # ERROR: A user can't hold a colon
    password = "x"
  }
}

input "files" "one" {   # ERROR: Input "files" needs "paths"
  paths = null   # the null counts as not set
  enabled = false
}   # the block above is disabled
