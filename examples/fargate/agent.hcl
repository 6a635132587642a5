# Beside the containers of one Fargate task. What task it is, it is told by ECS: the same file goes with every task of every service.

agent {
  # The instance of everything that is pushed. There is no machine that would have a name, and the address of a task is another one's tomorrow.
  host = ecs("task")

  labels = {
    cluster = ecs("cluster")
    zone    = ecs("availability_zone")
  }

  # When the task is stopped, what is queued has this long to get out; stopTimeout in the task definition is longer.
  drain_timeout = "20s"
}

# CPU, memory, network and limits of the task and its containers.
input "ecs_task" {
  task_labels      = ["family", "revision"] # the others are above
  cadvisor_names   = true                   # container_*, for dashboards that were made for cAdvisor
  container_labels = []
}

# How the agent itself fares.
input "self" {
  interval = "1m"
}

# Amazon Managed Service for Prometheus. The credentials are those of the task's role; the region is that of the URL.
output "remote_write" "managed" {
  from = input
  url  = env("METRICS_URL")
  sigv4 {}
  queue {
    max_size = "16MiB"
  }
}
