Kind = "service-defaults"
Name = "mail"
Destination {
  Addresses = ["mail.example.com", "10.0.0.1"]
  Port = 25
}
