kind = "service-splitter"
name = "api"
splits = [
  { weight = 50 },
  { weight = 49.99, service_subset = "v2" },
]
