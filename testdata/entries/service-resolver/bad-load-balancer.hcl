Kind = "service-resolver"
Name = "api"
LoadBalancer {
  Policy = "fastest"
  LeastRequestConfig { ChoiceCount = 2 }
  HashPolicies = [
    { Field = "body" FieldValue = "x" },
    { SourceIP = true Field = "header" },
    { Field = "header" FieldValue = "x" CookieConfig { Session = true TTL = "1s" } },
  ]
}
