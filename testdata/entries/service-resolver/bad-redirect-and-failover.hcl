Kind = "service-resolver"
Name = "api"
Redirect { Service = "b" }
Failover { "*" { Service = "c" } }
