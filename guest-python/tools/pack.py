"""Writes folders as one uncompressed ustar archive that depends on nothing but names and contents.

`pack.py ARCHIVE FOLDER...`: where two folders have the same name, the later one wins. Names are sorted, times and
owners are 0, files 0644, folders 0755. A `.pyc` whose source is not in the folder that wins is left out.
(`tarfile` needs modules that the build's own Python does not have.)
"""

import os
import sys

BLOCK = 512
NAME_BYTES = 100
PREFIX_BYTES = 155


def main(archive: str, folders: list[str]) -> None:
    """Packs the folders into the archive."""
    entries: dict[str, str | None] = {}
    for folder in folders:
        found = _entries(folder)
        for name in found:
            if name.endswith(".py"):
                entries.pop(_compiled_name(name), None)
        entries.update(found)
    with open(archive, "wb") as out:
        for name in sorted(entries):
            path = entries[name]
            content = b"" if path is None else _read(path)
            out.write(_header(name, len(content), is_folder=path is None))
            out.write(content + bytes(-len(content) % BLOCK))
        out.write(bytes(2 * BLOCK))


def _entries(folder: str) -> dict[str, str | None]:
    """Name in the archive to path on disk; folders have no path and end in a slash."""
    entries: dict[str, str | None] = {}
    for parent, _, names in os.walk(folder):
        inside = os.path.relpath(parent, folder)
        prefix = "" if inside == "." else inside + "/"
        if prefix:
            entries[prefix] = None
        for name in names:
            entries[prefix + name] = os.path.join(parent, name)
    return entries


def _compiled_name(name: str) -> str:
    folder, _, file = name.rpartition("/")
    cache = f"{folder}/__pycache__" if folder else "__pycache__"
    return f"{cache}/{file[:-3]}.{sys.implementation.cache_tag}.pyc"


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _header(name: str, size: int, is_folder: bool) -> bytes:
    prefix, short = _split(name.encode())
    fields = [
        short.ljust(NAME_BYTES, b"\0"),
        b"0000755\0" if is_folder else b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size,
        b"%011o\0" % 0,
        b" " * 8,
        b"5" if is_folder else b"0",
        bytes(NAME_BYTES),
        b"ustar\x0000",
        bytes(32),
        bytes(32),
        b"0000000\0",
        b"0000000\0",
        prefix.ljust(PREFIX_BYTES, b"\0"),
    ]
    header = b"".join(fields).ljust(BLOCK, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _split(name: bytes) -> tuple[bytes, bytes]:
    """A name too long for its field is cut at a slash into prefix and name."""
    if len(name) <= NAME_BYTES:
        return b"", name
    cut = name.find(b"/", len(name) - NAME_BYTES - 1, -1)
    if not 0 < cut <= PREFIX_BYTES:
        sys.exit(f"name too long for ustar: {name.decode()}")
    return name[:cut], name[cut + 1 :]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
