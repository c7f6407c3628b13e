"""`curses` in a sandbox: there is no terminal to draw on."""

from _sandbox import absent

raise absent("curses", "a sandbox has no terminal")
