kind = "service-intentions"
name = "db"
sources = [
  {
    name        = "*"
    action      = "deny"
    description = "nobody else"
  },
  {
    name      = "web"
    namespace = "shop"
    partition = "team-a"
    type      = "consul"
    permissions = [
      {
        action = "deny"
        http {
          path_exact = "/admin"
          header = [
            { name = "x-internal", present = true, invert = true },
            { name = "x-user", contains = "ROOT", ignore_case = true },
          ]
        }
      },
      {
        action = "allow"
        http { path_regex = "/v[0-9]+/.*" methods = ["get", "HEAD"] }
      },
    ]
  },
  { name = "*", namespace = "*", action = "deny" },
  { name = "billing", peer = "cluster-02", action = "allow" },
]
meta { owner = "shop" }
