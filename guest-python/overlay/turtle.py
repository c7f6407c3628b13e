"""`turtle` in a sandbox: there is no display to draw on."""

from _sandbox import absent

raise absent("turtle", "a sandbox has no display")
