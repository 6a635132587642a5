# A machine on EC2 that says with everything which one it is. AWS tells it: the same file goes on every machine, and a machine that is made from an
# image or by an autoscaling group needs nothing that somebody has to set.

agent {
  # The instance of everything that is pushed.
  host = ec2("instance-id")

  listen = env("HERMOD_LISTEN", "127.0.0.1:12345")

  labels = {
    region  = ec2("placement/region")
    zone    = ec2("placement/availability-zone")
    machine = ec2("instance-type")
    service = ec2("tags/instance/Service", "none") # where the machine has this tag, and its tags are allowed in the metadata
  }

  # When the machine is taken away, what is queued has this long to get out.
  drain_timeout = "20s"
}

input "host" {
  netdev {
    device_exclude = "^(veth.*|br-.*|docker.*)$"
  }
}

input "self" {
  interval = "1m"
}

# Amazon Managed Service for Prometheus. The credentials are those of the machine's role; the region is that of the URL.
output "remote_write" "managed" {
  from = input
  url  = env("METRICS_URL")
  sigv4 {}
  queue {
    max_size = "32MiB"
  }
}
