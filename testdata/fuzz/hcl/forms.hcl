# every form of a value
config_entries {
  bootstrap = [{ kind = "mesh" }, { kind = "proxy-defaults" name = "global" config { a = 0x1F b = 0644 c = -1.5e3 } }]
}
/* a comment */ services { name = "a" } // and another
services { name = <<EOT
many
lines
EOT
}
