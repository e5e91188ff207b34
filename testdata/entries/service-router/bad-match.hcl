kind = "service-router"
name = "web"
routes = [
  {
    match {
      http {
        path_exact  = "a"
        path_prefix = "b"
        header      = [{ exact = "a" }, { name = "x" }, { name = "y", exact = "a", suffix = "b" }]
        query_param = [{ present = true, exact = "a" }, { name = "q", regex = "(a" }]
        methods     = ["GET", "fetch", "get"]
      }
    }
  },
  { match { http { path_regex = "(?=a)" } } },
]
