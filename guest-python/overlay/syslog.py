"""`syslog` in a sandbox, which has none."""

from _sandbox import SYSTEM_LOG as _SYSTEM_LOG
from _sandbox import unsupported as _unsupported

LOG_EMERG, LOG_ALERT, LOG_CRIT, LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG = range(8)
LOG_KERN, LOG_USER, LOG_MAIL, LOG_DAEMON, LOG_AUTH, LOG_SYSLOG, LOG_LPR, LOG_NEWS, LOG_UUCP, LOG_CRON, LOG_AUTHPRIV = (
    number << 3 for number in range(11)
)
LOG_LOCAL0, LOG_LOCAL1, LOG_LOCAL2, LOG_LOCAL3, LOG_LOCAL4, LOG_LOCAL5, LOG_LOCAL6, LOG_LOCAL7 = (
    number << 3 for number in range(16, 24)
)
LOG_PID, LOG_CONS, LOG_ODELAY, LOG_NDELAY, LOG_NOWAIT, LOG_PERROR = 1, 2, 4, 8, 16, 32


def syslog(*_args):
    raise _unsupported(_SYSTEM_LOG)


def openlog(ident=None, logoption=0, facility=LOG_USER):
    """There is nothing to open."""
    if ident is not None:
        if not isinstance(ident, str):
            raise TypeError(f"openlog() argument 'ident' must be str, not {type(ident).__name__}")
        ident.encode()


def closelog():
    """There is nothing to close."""


_mask = 0xFF


def setlogmask(maskpri, /):
    """Returns the mask that was set before; 0 changes nothing."""
    global _mask
    before = _mask
    _mask = maskpri or _mask
    return before


def LOG_MASK(pri, /):  # noqa: N802
    return 1 << pri


def LOG_UPTO(pri, /):  # noqa: N802
    return (1 << pri + 1) - 1
