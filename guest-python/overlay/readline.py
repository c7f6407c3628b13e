"""`readline` in a sandbox: there is no terminal to edit a line on."""

from _sandbox import absent

raise absent("readline", "a sandbox has no terminal")
