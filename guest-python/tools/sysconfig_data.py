"""Copies CPython's `_sysconfigdata` module without what it knows of the machine that built it.

`sysconfig_data.py FILE FOLDER FROM=TO...`: paths that start with FROM are told as TO, the longest FROM first;
variables that only describe the build machine are left out.
"""

import os
import pprint
import runpy
import sys

OF_THE_BUILD_MACHINE = (
    "BUILD_GNU_TYPE",
    "CONFIG_ARGS",
    "CXX",
    "FREEZE_MODULE",
    "GITBRANCH",
    "GITTAG",
    "GITVERSION",
    "INSTALL",
    "LLVM_PROF_",
    "MKDIR_P",
    "PYTHON_FOR_",
    "SHELL",
)


def main(path: str, folder: str, replacements: list[str]) -> None:
    """Reads the module at `path` and writes it into `folder`."""
    pairs = sorted((tuple(r.split("=", 1)) for r in replacements), key=lambda pair: -len(pair[0]))
    variables = runpy.run_path(path)["build_time_vars"]
    told = {}
    for name, value in sorted(variables.items()):
        if name.startswith(OF_THE_BUILD_MACHINE):
            continue
        if isinstance(value, str):
            for old, new in pairs:
                value = value.replace(old, new)
        told[name] = value
    with open(os.path.join(folder, os.path.basename(path)), "w", encoding="utf-8") as out:
        out.write("# What sysconfig tells of this Python.\nbuild_time_vars = ")
        out.write(pprint.pformat(told, width=100) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
