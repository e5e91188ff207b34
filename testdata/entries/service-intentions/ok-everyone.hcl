Kind = "service-intentions"
Name = "*"
Namespace = "*"
Sources = [{ Name = "*", Action = "deny" }]
