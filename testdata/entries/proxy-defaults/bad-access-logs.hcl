Kind = "proxy-defaults"
Name = "global"
AccessLogs {
  Type = "syslog"
  Path = "/x"
  JSONFormat = "[]"
  TextFormat = "x"
}
