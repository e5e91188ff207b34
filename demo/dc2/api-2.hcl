service {
  name    = "api"
  id      = "api-2"
  address = "10.201.2.22"
  port    = 9000
  check {
    name     = "answers"
    http     = "http://10.201.2.22:9000/"
    interval = "1s"
    timeout  = "1s"
  }
  connect {
    sidecar_service {
      port = 20000
    }
  }
}
