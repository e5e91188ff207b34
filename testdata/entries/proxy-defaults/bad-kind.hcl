Kind = "proxy-default"
Name = "global"
