Kind = "service-defaults"
Name = "mail"
Destination {
  Addresses = ["*.example.com", "a", "a"]
}
UpstreamConfig {}
