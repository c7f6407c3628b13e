"""`turtledemo` in a sandbox: there is no display to draw on."""

from _sandbox import absent

raise absent("turtledemo", "a sandbox has no display")
