kind = "service-intentions"
name = "db"
sources = [
  {
    name = "web"
    permissions = [
      { http { path_prefix = "/" } },
      { action = "allow" },
      { action = "allow", http {} },
      {
        action = "allow"
        http {
          path_exact  = "a"
          path_prefix = "/b"
          path_regex  = "["
          methods     = ["GET", "get"]
          header = [
            { name = "x" },
            { exact = "a" },
            { name = "y", exact = "a", contains = "b" },
            { name = "z", present = true, ignore_case = true },
            { name = "z", regex = "a{2000}" },
          ]
        }
      },
    ]
  },
]
