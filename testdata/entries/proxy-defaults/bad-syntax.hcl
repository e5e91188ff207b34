Kind = "proxy-defaults"
MeshGateway {
  Mode = local
}
