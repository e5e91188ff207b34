Kind = "service-resolver"
Name = "api"
DefaultSubset = "v1"
