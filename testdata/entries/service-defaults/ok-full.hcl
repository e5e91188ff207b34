Kind     = "service-defaults"
Name     = "web"
Protocol = "http"
Mode     = "transparent"
MeshGateway { Mode = "remote" }
ExternalSNI = "web.example.com"
UpstreamConfig {
  Defaults { MeshGateway { Mode = "local" } ConnectTimeoutMs = 2000 }
  Overrides = [
    {
      Name = "api"
      Peer = "cluster-01"
      MeshGateway { Mode = "none" }
      Limits { MaxConnections = 10 MaxPendingRequests = 20 MaxConcurrentRequests = 30 }
      PassiveHealthCheck {
        Interval                = "30s"
        MaxFailures             = 3
        EnforcingConsecutive5xx = 50
        MaxEjectionPercent      = 10
        BaseEjectionTime        = "1m30s"
      }
    },
    {
      Name = "db"
      EnvoyClusterJSON = <<EOF
{"name": "db"}
EOF
    },
  ]
}
MaxInboundConnections = 64
LocalConnectTimeoutMs = 500
LocalRequestTimeoutMs = 10000
BalanceInboundConnections = "exact_balance"
MaxRequestHeadersKB = 96
