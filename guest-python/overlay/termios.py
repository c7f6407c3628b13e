"""`termios` in a sandbox, which has no terminal: names to import, and its own error for who uses them."""

from _sandbox import TERMINAL as _TERMINAL

# The values of Linux.
TCSANOW, TCSADRAIN, TCSAFLUSH = 0, 1, 2
TCIFLUSH, TCOFLUSH, TCIOFLUSH = 0, 1, 2
TCOOFF, TCOON, TCIOFF, TCION = 0, 1, 2, 3
IGNBRK, BRKINT, IGNPAR, PARMRK, INPCK, ISTRIP = 1, 2, 4, 8, 16, 32
INLCR, IGNCR, ICRNL, IXON, IXANY, IXOFF = 64, 128, 256, 0x400, 0x800, 0x1000
OPOST, ONLCR = 1, 4
CSIZE, CS5, CS6, CS7, CS8, CSTOPB, CREAD, PARENB, PARODD, HUPCL, CLOCAL = (
    48,
    0,
    16,
    32,
    48,
    64,
    128,
    256,
    512,
    1024,
    2048,
)
ISIG, ICANON, ECHO, ECHOE, ECHOK, ECHONL, NOFLSH, TOSTOP, IEXTEN = 1, 2, 8, 16, 32, 64, 128, 256, 0x8000
VINTR, VQUIT, VERASE, VKILL, VEOF, VTIME, VMIN, VSWTC, VSTART, VSTOP, VSUSP, VEOL = range(12)
NCCS = 32
B0, B9600, B19200, B38400, B57600, B115200 = 0, 13, 14, 15, 4097, 4098
TIOCGWINSZ, TIOCSWINSZ, FIONREAD, TIOCSTI = 0x5413, 0x5414, 0x541B, 0x5412


class error(Exception):  # noqa: N801
    """The module's error."""


def _no_terminal(*_args):
    raise error(25, _TERMINAL)


tcgetattr = tcsetattr = tcsendbreak = tcdrain = tcflush = tcflow = tcgetwinsize = tcsetwinsize = _no_terminal
