kind = "service-router"
name = "web"
routes = [
  {
    match {
      http {
        path_prefix      = "/admin"
        case_insensitive = true
        header = [
          { name = "x-debug", present = true },
          { name = "x-user", exact = "root", invert = true },
        ]
        query_param = [
          { name = "version", regex = "v[0-9]+" },
          { name = "trace", present = true },
        ]
        methods = ["get", "POST"]
      }
    }
    destination {
      service                  = "admin"
      service_subset           = "v2"
      prefix_rewrite           = "/"
      request_timeout          = "1m30s"
      idle_timeout             = "-1s"
      num_retries              = 3
      retry_on_connect_failure = true
      retry_on                 = ["5xx", "unavailable"]
      retry_on_status_codes    = [429, 503]
      request_headers { add = { "x-route" = "admin" } }
      response_headers { remove = ["server"] }
    }
  },
  {
    match { http { path_regex = "/v[0-9]/.*" } }
    destination { namespace = "shop" partition = "team-a" }
  },
  {},
]
