Kind = "exported-services"
Name = "default"
Services = [
  { Consumers = [{ Peer = "west" Partition = "a" }] },
  { Name = "web" Namespace = "*" Consumers = [{ Peer = "*" }, { SamenessGroup = "g" }] },
  { Name = "db" },
]
