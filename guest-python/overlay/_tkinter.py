"""`tkinter` in a sandbox: there is no display to open a window on."""

from _sandbox import absent

raise absent("tkinter", "a sandbox has no display")
