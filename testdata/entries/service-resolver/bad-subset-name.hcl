Kind = "service-resolver"
Name = "api"
Subsets "V1" {}
Subsets "-a" {}
