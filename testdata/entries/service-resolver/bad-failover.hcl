Kind = "service-resolver"
Name = "api"
Failover {
  v1 {}
  "*" {
    Service       = "b"
    Datacenters   = ["", "dc2"]
    Targets       = [{ Peer = "west" Datacenter = "dc2" }]
    SamenessGroup = "g"
  }
}
