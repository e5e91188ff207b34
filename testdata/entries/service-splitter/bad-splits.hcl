kind = "service-splitter"
name = "api"
splits = [
  { weight = 120 },
  { weight = -30, service = "b" },
  { weight = 10, service = "api" },
  {
    weight = 0
    service = "c"
    request_headers {
      add    = { "" = "x" "Host" = "a" }
      set    = { "x-a" = "100%" }
      remove = [":path"]
    }
    response_headers {
      add = { "x-b" = "a\nb" }
    }
  },
]
