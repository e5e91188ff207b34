# The control plane, and the config entries that are there from the start. Consul reads this file too.
datacenter = "dc1"
node_name  = "control"
data_dir   = "/var/lib/meshgate"

client_addr = "0.0.0.0"
ports {
  http = 8500
  grpc = 8502
}

config_entries {
  bootstrap = [
    # What leaves its datacenter or partition goes through a gateway of the caller's side and one of the other side.
    {
      kind = "proxy-defaults"
      name = "global"
      mesh_gateway {
        mode = "local"
      }
    },
    {
      kind     = "service-defaults"
      name     = "api"
      protocol = "http"
    },
    # A connection that cannot be made, because a gateway has just gone, is tried with another gateway, or with the same one
    # again: there are enough attempts for the time until its check fails.
    {
      kind = "service-router"
      name = "api"
      routes = [{
        match {
          http {
            path_prefix = "/"
          }
        }
        destination {
          num_retries              = 10
          retry_on_connect_failure = true
        }
      }]
    },
    {
      kind            = "service-resolver"
      name            = "api"
      connect_timeout = "1s"
    },
    {
      kind      = "service-defaults"
      name      = "billing"
      partition = "team-a"
      protocol  = "http"
    },
    {
      kind      = "service-router"
      name      = "billing"
      partition = "team-a"
      routes = [{
        match {
          http {
            path_prefix = "/"
          }
        }
        destination {
          num_retries              = 10
          retry_on_connect_failure = true
        }
      }]
    },
    {
      kind            = "service-resolver"
      name            = "billing"
      partition       = "team-a"
      connect_timeout = "1s"
    },
    {
      kind      = "exported-services"
      name      = "team-a"
      partition = "team-a"
      services = [{
        name      = "billing"
        consumers = [{ partition = "default" }]
      }]
    },
  ]
}
