"""`ctypes` in a sandbox: there is no native code outside the guest that a program could call."""

from _sandbox import absent

raise absent("ctypes", "a sandbox has no native libraries to call")
