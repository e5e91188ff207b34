kind            = "service-resolver"
name            = "api"
default_subset  = "v1"
connect_timeout = "15s"
request_timeout = "1m"
subsets "v1" {
  filter       = "Service.Meta.version == v1"
  only_passing = true
}
subsets "v2" {
  filter = "Service.Meta.version == v2"
}
failover = {
  "v1" = { datacenters = ["dc2", "dc3"] }
  "*"  = { targets = [{ peer = "cluster-01" }, { datacenter = "dc2", service_subset = "v2" }] }
}
load_balancer {
  policy = "ring_hash"
  ring_hash_config { minimum_ring_size = 1024 maximum_ring_size = 8192 }
  hash_policies = [
    { field = "cookie", field_value = "session", cookie_config { ttl = "1h" path = "/" } },
    { source_ip = true, terminal = true },
  ]
}
