service {
  name    = "web"
  address = "10.201.1.21"
  port    = 9000
  connect {
    sidecar_service {
      port = 20000
      proxy {
        upstreams = [
          { destination_name = "api", datacenter = "dc2", local_bind_port = 9191 },
          { destination_name = "billing", destination_partition = "team-a", local_bind_port = 9192 },
        ]
      }
    }
  }
}
