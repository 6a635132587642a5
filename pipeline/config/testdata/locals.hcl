locals {
  a = local.b
  b = local.c
  c = local.a          # ERROR: These locals need each other: local.a -> local.b -> local.c -> local.a
  d = local.a          # told above
  self = local.self    # ERROR: local.self -> local.self
  e = "x"
  nested {             # ERROR: locals has no block "nested"
  }
  broken = upper(1, 2)   # ERROR: Too many function arguments
}

locals {
  e = "y"              # ERROR: local.e is given twice
  f = each.key         # ERROR: each stands for nothing here
  g = env("NOPE")      # ERROR: The environment variable NOPE isn't set
  h = file("nope")     # ERROR: The file testdata/nope doesn't exist
  i = uper("x")        # ERROR: Unknown function "uper"; did you mean "upper"?
  j = local.g
  k = 1e999999         # ERROR: This number is out of range
  l = locals.e         # ERROR: The block is called locals, a value of it local.NAME.
  m = e                # ERROR: Write local.e.
  n = yes              # ERROR: Write true.
  o = jsondecode("{")  # ERROR: jsondecode() can't take what it is given
  p = env("A", "b", "c")   # ERROR: env takes a name and at most one default
  q = env("NOPE", local.e)
}

input "mysql" "users" {
  address = local.a
  user    = local.j
  tables  = [local.g, local.zzz]   # ERROR: There is no local "zzz"
}

input "mysql" "each" {
  for_each = "a"        # ERROR: for_each must be a list or a map, not text
  address  = each.value
}

input "mysql" "twice" {
  for_each = ["a", "a"]   # ERROR: for_each has the key "a" twice
  address  = each.value
  adress   = each.value   # ERROR: Unknown attribute "adress"
}

input "mysql" "objects" {
  for_each = [{ a = 1 }]   # ERROR: for_each over a list takes texts only
  address  = "x"
}

input "mysql" "empty_key" {
  for_each = { "" = 1 }   # ERROR: for_each has an empty key
  address  = "x"
}

input "mysql" "wrong_one" {
  for_each = { a = 1, b = "x", c = "y" }
  address  = "x"
  port     = each.value   # ERROR: This is the instance with the key "b".
}

input "docker_logs" {
  for_each = ["a"]   # ERROR: Input "docker_logs" has for_each and no name
}
