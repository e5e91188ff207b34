Kind = "service-resolver"
Name = "api"
Redirect { ServiceSubset = "v1" Peer = "west" Datacenter = "dc2" }
