"""`venv` in a sandbox: nothing can be installed."""

from _sandbox import absent

raise absent("venv", "a sandbox's library is fixed when the guest is built")
