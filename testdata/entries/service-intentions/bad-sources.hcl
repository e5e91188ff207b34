kind = "service-intentions"
name = "db"
sources = [
  { action = "allow" },
  { name = "web-*", action = "allow" },
  { name = "web", namespace = "*", action = "allow" },
  { name = "web", partition = "*", action = "allow" },
  { name = "web", peer = "p*", action = "allow" },
  { name = "web", peer = "p", partition = "default", action = "allow" },
  { name = "web", sameness_group = "all", action = "allow" },
  { name = "web", action = "" },
  { name = "web", action = "allow", permissions = [{ action = "allow", http { path_prefix = "/" } }] },
  { name = "cron", type = "other", action = "allow" },
  { name = "cron", peer = "a", action = "allow" },
  { name = "cron", peer = "b", action = "allow" },
  { name = "cron", action = "deny" },
  { name = "batch", namespace = "a.b", partition = "c/d", action = "deny" },
]
