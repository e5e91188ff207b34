# The first gateway of dc1. Other datacenters and partitions dial its address in the network `wan`.
service {
  kind    = "mesh-gateway"
  name    = "mesh-gateway"
  id      = "mgw-dc1-a"
  address = "10.201.1.11"
  port    = 8443
  tagged_addresses {
    lan = { address = "10.201.1.11", port = 8443 }
    wan = { address = "10.201.9.11", port = 8443 }
  }
  proxy {
    config {
      envoy_gateway_bind_tagged_addresses = true
      envoy_gateway_no_default_bind       = true
    }
  }
  check {
    name     = "listening"
    tcp      = "10.201.1.11:8443"
    interval = "1s"
    timeout  = "1s"
  }
}
