Kind = "service-router"
Name = "*"
