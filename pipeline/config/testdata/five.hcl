agent {
  interval = "15"   # ERROR: "15" is not a duration
}

input "host" "nas" {
  procfss = "/host/proc"   # ERROR: Unknown attribute "procfss" in input "host"; did you mean "procfs"?
}

input "msyql" "lottery" {   # ERROR: There is no input of type "msyql"; did you mean "mysql"?
  address = "lottery_db:3306"
}

processor "relabel" "names" {
  from = input.host
  rule {
    source_labels = ["instance"]
    regex         = "(.*"          # ERROR: is not a regular expression: missing closing )
    replacement   = "$1:9100"
  }
}

output "prometheus" "scrape" {
  from = [input.mysql.lottery, processor.relabel.name]   # ERROR: There is no processor.relabel.name; did you mean "processor.relabel.names"?
}
