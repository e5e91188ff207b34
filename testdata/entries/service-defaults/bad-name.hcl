Kind = "service-defaults"
