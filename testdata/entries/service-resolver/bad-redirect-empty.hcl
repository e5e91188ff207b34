Kind = "service-resolver"
Name = "api"
Redirect {}
