input "host" "a" {
	procfs	= local.größe # ERROR: There is no local "größe"
}
input "mysql" "b" {
  address = "日本語" + upper(local.日本) # ERROR: There is no local "日本"
  tables  = ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", nothing] # ERROR: Unknown name "nothing"
  user    = "e\u0301" # fine
  port    = 70000 # ERROR: must be a number from 0 to 65535
}
