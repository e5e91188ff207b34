service {
  name    = "billing"
  id      = "billing"
  address = "10.201.3.21"
  port    = 9000
  check {
    name     = "answers"
    http     = "http://10.201.3.21:9000/"
    interval = "1s"
    timeout  = "1s"
  }
  connect {
    sidecar_service {
      port = 20000
    }
  }
}
