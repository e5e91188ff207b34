Kind = "ingress-gateway"
Name = "front"
TLS {
  Enabled       = true
  TLSMinVersion = "TLSv1_2"
  SDS { ClusterName = "vault", CertResource = "front" }
}
Listeners = [
  {
    Port = 8443
    Protocol = "http"
    Services = [
      {
        Name = "web"
        Hosts = ["web.example.com", "*.web.example.com"]
        RequestHeaders { Set { x-gateway = "front" } }
        MaxConnections = 100
        PassiveHealthCheck { Interval = "5s", MaxFailures = 3 }
      },
      { Name = "*" },
    ]
  },
  { Port = 5432, Services = [{ Name = "db" }] },
]
Defaults { MaxConnections = 1000 }
