Kind = "terminating-gateway"
Name = "egress"
Services = [
  {
    Name     = "billing"
    CAFile   = "/etc/ssl/ca.pem"
    CertFile = "/etc/ssl/cert.pem"
    KeyFile  = "/etc/ssl/key.pem"
    SNI      = "billing.example.com"
  },
  { Name = "*", Namespace = "blue", DisableAutoHostRewrite = true },
]
Meta { owner = "payments" }
