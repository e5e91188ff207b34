Kind = "service-defaults"
Name = "web"
UpstreamConfig {
  Defaults { Name = "api" Limits { MaxConnections = -1 } }
  Overrides = [
    { Protocol = "http" },
    { Name = "db", PassiveHealthCheck { Interval = "-1s" MaxEjectionPercent = 101 Consecutive5xx = 0 } },
  ]
}
