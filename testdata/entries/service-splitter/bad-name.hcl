Kind = "service-splitter"
Name = "*"
Splits = [{ Weight = 100 }]
