"""`ssl` in a sandbox: there is no connection that could be encrypted."""

from _sandbox import absent

raise absent("ssl", "a sandbox has no network")
