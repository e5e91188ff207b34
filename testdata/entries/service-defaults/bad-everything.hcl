Kind     = "service-defaults"
Name     = "web"
Protocol = "htttp"
Mode     = "sideways"
MeshGatway {
  Mode = "local"
}
UpstreamConfig {
  Overrides = [
    "api",
    {
      PassiveHealthCheck {
        Interval           = "-1s"
        MaxEjectionPercent   = "all"
      }
    },
  ]
}
