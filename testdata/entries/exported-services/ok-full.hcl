Kind = "exported-services"
Name = "default"
Services = [
  {
    Name = "billing"
    Consumers = [{ Partition = "team-a" }, { Peer = "cluster-01" }]
  },
  { Name = "*" Namespace = "*" Consumers { PeerName = "cluster-02" } },
]
