Kind = "mesh"
TransparentProxy { MeshDestinationsOnly = true }
AllowEnablingPermissiveMutualTLS = true
ValidateClusters = true
GatewayHealth = "backend"
TLS {
  Incoming {
    TLSMinVersion = "TLSv1_2"
    TLSMaxVersion = "TLSv1_3"
    CipherSuites  = ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
  }
  Outgoing { TLSMinVersion = "TLSv1_3" }
}
HTTP { SanitizeXForwardedClientCert = true Incoming { RequestNormalization { MergeSlashes = true } } }
Peering { PeerThroughMeshGateways = true }
