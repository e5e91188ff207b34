service {
  name    = "api"
  id      = "api-1"
  address = "10.201.2.21"
  port    = 9000
  check {
    name     = "answers"
    http     = "http://10.201.2.21:9000/"
    interval = "1s"
    timeout  = "1s"
  }
  connect {
    sidecar_service {
      port = 20000
    }
  }
}
