Kind = "terminating-gateway"
Name = "*"
Services = [
  { Name = "billing", CertFile = "/etc/ssl/cert.pem" },
  { Name = "billing" },
  { Name = " " },
  { Name = "mail", CertFile = "/c", KeyFile = "/k" },
]
