"""The runner: the Python that lives in the sandbox and runs the user's functions.

`runner` answers the host's requests, `values` is how arguments and results travel. Nothing here
is for users to import.
"""
