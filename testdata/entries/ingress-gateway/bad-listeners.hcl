Kind = "ingress-gateway"
Name = "front"
Listeners = [
  { Port = 8080, Protocol = "smtp", Services = [{ Name = "web" }] },
  { Port = 8080, Services = [] },
  { Port = 8081, Services = [{ Name = "a" }, { Name = "a" }] },
  { Port = 8082, Services = [{ Name = "*", Hosts = ["a.com"], RequestHeaders { Remove = ["x"] } }] },
  { Services = [{ Name = "" }] },
]
