service {
  name = "web"
  port = 8080
  check { ttl = "10s" }
  connect {
    sidecar_service {
      proxy { upstreams = [{ destination_name = "api" datacenter = "dc2" local_bind_port = 9191 config { protocol = "http" } }] }
    }
  }
}
