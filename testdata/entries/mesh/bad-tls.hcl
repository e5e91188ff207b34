Kind = "mesh"
TLS {
  Incoming { TLSMinVersion = "TLSv1_2" TLSMaxVersion = "TLSv1_1" }
  Outgoing { TLSMinVersion = "TLSv1_3" TLSMaxVersion = "SSLv3" CipherSuites = ["NULL"] }
}
