Kind = "exported-services"
Name = "team-a"
Partition = "team-b"
