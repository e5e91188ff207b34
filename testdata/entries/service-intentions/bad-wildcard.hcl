kind = "service-intentions"
name = "*"
sources = [{ name = "web", permissions = [{ action = "allow", http { path_prefix = "/" } }] }]
