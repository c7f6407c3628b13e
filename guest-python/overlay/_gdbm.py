"""`dbm.gnu` in a sandbox: `dbm.sqlite3` and `dbm.dumb` are there."""

from _sandbox import absent

raise absent("dbm.gnu", "a sandbox has no GNU dbm library")
