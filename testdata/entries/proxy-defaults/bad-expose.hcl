Kind = "proxy-defaults"
Name = "global"
Expose {
  Paths = [
    { Path = "/a", ListenerPort = 80 },
    { Path = "", ListenerPort = 80, Protocol = "grpc" },
    { Path = "/c" },
  ]
}
