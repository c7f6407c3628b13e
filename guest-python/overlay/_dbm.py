"""`dbm.ndbm` in a sandbox: `dbm.sqlite3` and `dbm.dumb` are there."""

from _sandbox import absent

raise absent("dbm.ndbm", "a sandbox has no ndbm library")
