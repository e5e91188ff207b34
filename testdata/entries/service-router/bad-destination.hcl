kind = "service-router"
name = "web"
routes = [
  {
    match { http { path_regex = "/a.*" } }
    destination { prefix_rewrite = "/b" retry_on = ["5xx", "sometimes"] request_timeout = "2562047h47m16s" }
  },
  {
    match { http { path_exact = "/a" } }
    destination {
      prefix_rewrite  = "/a\nb"
      request_headers { remove = ["Host"] }
      num_retries     = -1
    }
  },
  { destination { prefix_rewrite = "/b" retries = 3 } },
]
