# Everything that every proxy starts from.
Kind = "proxy-defaults"
Name = "global"
Config {
  protocol = "http"
  envoy_gateway_bind_addresses {
    all { address = "0.0.0.0" port = 8443 }
  }
  limits { max_connections = 100 }
}
Mode = "direct"
TransparentProxy { OutboundListenerPort = 15002 DialedDirectly = true }
MutualTLSMode = "strict"
MeshGateway { Mode = "local" }
Expose {
  Checks = true
  Paths = [{ ListenerPort = 21500, Path = "/healthz", LocalPathPort = 8080, Protocol = "http2" }]
}
AccessLogs { Enabled = true Type = "file" Path = "/var/log/access" TextFormat = "%START_TIME%\n" }
Meta { owner = "platform" }
