"""What a program sees of its sandbox; each function's assertions are a test."""

import contextlib
import errno
import io
import os
import pathlib
import shutil
import socket
import stat
import sys
import tempfile

LIBRARY = "/lib/python3.13"


def refused(wanted, action, *args, **kwargs):
    """Asserts that the action fails with one of these errors."""
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    try:
        result = action(*args, **kwargs)
    except OSError as error:
        assert error.errno in wanted, (action, args, errno.errorcode.get(error.errno), str(error))
        return
    if hasattr(result, "close"):
        result.close()
    raise AssertionError(f"{action} {args} was allowed: {result!r}")


READ_ONLY = (errno.EROFS, errno.EPERM, errno.EACCES)


def library_is_read_only():
    path = f"{LIBRARY}/os.py"
    before = os.listdir(LIBRARY)
    assert "def makedirs" in open(path).read()
    for mode in ("w", "a", "r+", "x"):
        refused((*READ_ONLY, errno.EEXIST), open, path, mode)
    refused(READ_ONLY, open, f"{LIBRARY}/new.py", "w")
    refused(READ_ONLY, os.mkdir, f"{LIBRARY}/new")
    refused(READ_ONLY, os.unlink, path)
    refused(READ_ONLY, os.rename, path, "/tmp/os.py")
    refused((*READ_ONLY, errno.EEXIST), os.rename, make_file("/tmp/other"), path)
    refused(READ_ONLY, os.rmdir, f"{LIBRARY}/json")
    refused(READ_ONLY, os.symlink, "/tmp", f"{LIBRARY}/link")
    refused((*READ_ONLY, errno.EXDEV), os.link, path, "/tmp/hard")
    refused(READ_ONLY, os.truncate, path, 0)
    refused(READ_ONLY, os.utime, path, (1, 1))
    refused(READ_ONLY, open, "/new", "w")
    refused(READ_ONLY, os.mkdir, "/new")
    assert os.listdir(LIBRARY) == before
    refused(errno.ENOENT, open, f"{LIBRARY}/none.py")
    assert os.path.isdir(f"{LIBRARY}/json") and "decoder.py" in os.listdir(f"{LIBRARY}/json")


def make_file(path):
    open(path, "w").close()
    return path


def inputs_are_read_only():
    assert sorted(os.listdir("/work")) == ["data", "empty", "näme with space.txt"]
    assert open("data/a.txt").read() == "first line\nsecond line\n"
    assert pathlib.Path("data/deep/er/b.bin").read_bytes() == b"\x00\xff\n"
    assert os.stat("data/a.txt").st_size == 23 and stat.S_ISREG(os.stat("data/a.txt").st_mode)
    assert os.listdir("data/none") == []
    for mode in ("w", "a", "r+"):
        refused(READ_ONLY, open, "data/a.txt", mode)
    refused(errno.EEXIST, open, "data/a.txt", "x")
    refused(READ_ONLY, open, "data/new", "w")
    refused(READ_ONLY, os.unlink, "empty")
    refused(READ_ONLY, os.rename, "empty", "full")
    refused((*READ_ONLY, errno.ENOTEMPTY), shutil.rmtree, "data")
    refused(READ_ONLY, os.truncate, "empty", 5)
    assert open("data/a.txt").read() == "first line\nsecond line\n"
    # Beside them there is room for files of the program's own.
    pathlib.Path("own").write_text("mine")
    assert sorted(os.listdir(".")) == ["data", "empty", "näme with space.txt", "own"]
    refused((errno.EEXIST,), os.mkdir, "data")


def names_in_work():
    return sorted(os.listdir("."))


def scratch_files():
    with open("file", "w+b") as file:
        assert file.write(b"0123456789") == 10
        file.seek(-3, os.SEEK_END)
        assert file.read() == b"789"
        file.seek(20)
        file.write(b"end")
        file.seek(0)
        assert file.read() == b"0123456789" + bytes(10) + b"end"
        file.truncate(4)
    assert os.path.getsize("file") == 4
    os.replace("file", "/tmp/moved")
    assert not os.path.exists("file") and open("/tmp/moved").read() == "0123"
    shutil.copy("data/a.txt", "copy")
    with open("copy", "a") as file:
        file.write("third line\n")
    assert len(open("copy").readlines()) == 3
    refused(errno.ENOENT, os.unlink, "none")
    refused(errno.EISDIR, open, "/tmp", "w")
    refused(errno.ENOTDIR, os.listdir, "copy")
    refused(errno.ENOTDIR, open, "copy/below")
    # A file that is open lives on without a name.
    with open("gone", "w+") as file:
        os.unlink("gone")
        file.write("still here")
        file.seek(0)
        assert file.read() == "still here"
    assert not os.path.exists("gone")


def open_modes():
    refused(errno.ENOENT, open, "new", "r")
    refused(errno.ENOENT, open, "new", "r+")
    for mode, wanted in [("x", "x"), ("a", "xa"), ("w", "w"), ("a", "wa")]:
        with open("new", mode) as file:
            file.write(mode)
        assert open("new").read() == wanted, mode
    refused(errno.EEXIST, open, "new", "x")
    with open("new", "r+") as file:
        file.write("R")
    assert open("new").read() == "Ra"
    with open("new", "rb") as file, contextlib.suppress(io.UnsupportedOperation):
        file.write(b"x")
        raise AssertionError("wrote to a file open for reading")
    number = os.open("new", os.O_WRONLY)
    refused((errno.EBADF, errno.EACCES, errno.EPERM, 76), os.read, number, 1)
    os.close(number)
    refused(errno.EBADF, os.read, number, 1)
    number = os.open("new", os.O_RDWR | os.O_APPEND)
    os.lseek(number, 0, os.SEEK_SET)
    os.write(number, b"!")
    os.close(number)
    assert open("new").read() == "Ra!"


def directories():
    os.makedirs("a/b/c")
    refused(errno.EEXIST, os.mkdir, "a")
    refused(errno.ENOTEMPTY, os.rmdir, "a")
    os.chdir("a/b")
    pathlib.Path("file").touch()
    assert os.listdir("..") == ["b"] and sorted(os.listdir()) == ["c", "file"]
    assert os.path.exists("../../a/b/./c/../file")
    os.chdir("/tmp")
    os.rename("/work/a/b", "/tmp/moved")
    assert sorted(entry.name for entry in os.scandir("/tmp/moved") if entry.is_file()) == ["file"]
    names = [f"file{number:03}" for number in range(300)]
    for name in names:
        pathlib.Path("moved", name).touch()
    assert sorted(os.listdir("moved")) == ["c", "file", *names]
    shutil.rmtree("moved")
    assert os.listdir("/tmp") == []
    refused(errno.ENOENT, os.chdir, "moved")


def links():
    os.symlink("data/a.txt", "link")
    os.symlink("/work/data", "/tmp/absolute")
    os.symlink("loop", "loop")
    os.symlink("nowhere", "dangling")
    assert os.readlink("link") == "data/a.txt" and os.path.islink("link")
    assert open("link").read().startswith("first")
    assert open("/tmp/absolute/a.txt").read().startswith("first")
    refused(errno.ELOOP, open, "loop")
    refused(errno.ENOENT, open, "dangling")
    # A link to an input does not make it writable.
    refused(READ_ONLY, open, "link", "w")
    os.symlink("../../../../../../etc", "up")
    refused((errno.ENOENT, errno.EPERM, 76), os.listdir, "up")
    os.symlink("/../../etc/passwd", "further-up")
    refused((errno.ENOENT, errno.EPERM, 76), open, "further-up")
    os.unlink("link")
    assert os.path.exists("data/a.txt")


def temporary_files():
    with tempfile.TemporaryDirectory() as folder:
        assert folder.startswith("/tmp/")
        with tempfile.NamedTemporaryFile("w+", dir=folder) as file:
            file.write("x")
            file.flush()
            assert os.path.exists(file.name)
        assert os.listdir(folder) == []
    with tempfile.TemporaryFile() as file:
        file.write(b"y")
    with tempfile.SpooledTemporaryFile(max_size=10) as file:
        file.write(b"more than ten bytes")
    assert os.listdir("/tmp") == []


def trees():
    shutil.copytree("data", "/tmp/tree")
    paths = sorted(str(path.relative_to("/tmp/tree")) for path in pathlib.Path("/tmp/tree").rglob("*"))
    assert paths == ["a.txt", "deep", "deep/er", "deep/er/b.bin", "none"], paths
    assert sorted(pathlib.Path(".").glob("data/**/*.bin")) == [pathlib.Path("data/deep/er/b.bin")]
    shutil.make_archive("/tmp/packed", "zip", "/tmp/tree")
    shutil.unpack_archive("/tmp/packed.zip", "/tmp/again")
    assert pathlib.Path("/tmp/again/deep/er/b.bin").read_bytes() == b"\x00\xff\n"
    shutil.make_archive("/tmp/packed", "gztar", "/tmp/tree")
    shutil.move("/tmp/again", "/work/moved")
    assert sorted(os.listdir("/work/moved")) == ["a.txt", "deep", "none"]


def nothing_else_is_there():
    assert sorted(os.listdir("/")) == ["lib", "tmp", "work"], os.listdir("/")
    assert os.listdir("/lib") == ["python3.13"]
    outside = (errno.ENOENT, errno.EPERM, 76)
    for path in ("/etc/passwd", "/proc/self/maps", "/dev/null", "/dev/urandom", "/home", "/root", "/sys", "/usr"):
        refused(outside, open, path)
        assert not os.path.exists(path), path
    assert sorted(os.listdir("..")) == sorted(os.listdir("/work/..")) == ["lib", "tmp", "work"]
    for path in ("../..", "../../../../..", "/..", "/work/../.."):
        # Above the root there is the root again, or nothing.
        try:
            assert sorted(os.listdir(path)) == ["lib", "tmp", "work"], path
        except OSError as error:
            assert error.errno in outside, (path, error)
    for path in ("../etc/passwd", "../../../../etc/passwd", "/work/../../etc/passwd", "./../tmp/../../etc/passwd"):
        refused(outside, open, path)
        refused((*outside, *READ_ONLY), open, path, "w")
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            kind = os.fstat(number).st_mode
            assert stat.S_ISDIR(kind), f"descriptor {number} is open"
    assert dict(os.environ) == {}, os.environ
    assert os.getcwd() == "/work"
    for action in (lambda: socket.create_connection(("127.0.0.1", 80)), lambda: os.system("true"), lambda: os.fork()):
        try:
            action()
        except (OSError, AttributeError, RuntimeError, NotImplementedError):
            continue
        raise AssertionError("the sandbox let something out")


def full_scratch():
    with open("most", "wb") as file:
        file.write(bytes(90_000))
    refused(errno.ENOSPC, fill, "rest", 10_001)
    assert os.path.getsize("most") == 90_000
    os.unlink("rest")
    fill("rest", 10_000)
    refused(errno.ENOSPC, fill, "/tmp/one", 1)
    os.unlink("most")
    for number in range(8):
        os.mkdir(f"/tmp/{number}")
    refused(errno.ENOSPC, os.mkdir, "/tmp/one-more")
    refused(errno.ENOSPC, open, "one-more", "w")
    refused(errno.ENOSPC, os.symlink, "x", "one-more")
    os.rmdir("/tmp/0")
    fill("fits-again", 5)
    refused(errno.ENOSPC, os.truncate, "fits-again", 200_000)
    refused(errno.ENOSPC, write_far, "fits-again", 1 << 40)


def fill(path, count):
    with open(path, "wb", buffering=0) as file:
        while count:
            count -= file.write(bytes(min(count, 4096)))


def write_far(path, offset):
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        file.write(b"x")


def standard_input():
    assert sys.stdin.readline() == "one\n"
    assert input() == "two"
    assert sys.stdin.readline() == "\udcff\udcfe\n"
    assert sys.stdin.read() == "last"
    assert sys.stdin.read() == ""
    try:
        input()
    except EOFError:
        pass
    else:
        raise AssertionError("input after its end")
    assert os.read(0, 10) == b""
    assert not sys.stdin.isatty()


def no_standard_input():
    assert sys.stdin.read() == "" and os.read(0, 1) == b""


def large_standard_input():
    assert len(sys.stdin.buffer.read()) == 3 << 20


def output():
    print("text ü")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\x00\x1b[31m\xff\xfe")
    sys.stdout.buffer.flush()
    sys.stdout.write("\udc80no newline")
    print("error ü\udc80", file=sys.stderr)


def cat(path):
    return pathlib.Path(path).read_bytes()
