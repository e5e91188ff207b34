kind = "service-splitter"
name = "api"
splits = [
  {
    weight         = 89.5
    service_subset = "v1"
    request_headers {
      set = { "x-version" = "one %PROTOCOL%" }
    }
  },
  {
    weight    = "10"
    service   = "api-next"
    namespace = "shop"
    partition = "team-a"
    response_headers {
      add    = { "x-from" = "next" }
      remove = ["server"]
    }
  },
  { weight = 0.5, service = "api" },
]
