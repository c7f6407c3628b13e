"""The C part of `socket` in a sandbox: names and conversions, and an error for everything that would need a network."""

import os as _os

from _sandbox import NETWORK as _NETWORK
from _sandbox import no_network as _no_network

error = OSError
timeout = TimeoutError
has_ipv6 = False

# The values of Linux, which programs have in mind.
AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6 = 0, 1, 2, 10
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_RDM, SOCK_SEQPACKET = 1, 2, 3, 4, 5
SOCK_NONBLOCK, SOCK_CLOEXEC = 0o4000, 0o2000000
SHUT_RD, SHUT_WR, SHUT_RDWR = 0, 1, 2
SOMAXCONN = 4096

SOL_SOCKET = 1
SO_DEBUG, SO_REUSEADDR, SO_TYPE, SO_ERROR, SO_DONTROUTE, SO_BROADCAST, SO_SNDBUF, SO_RCVBUF = 1, 2, 3, 4, 5, 6, 7, 8
SO_KEEPALIVE, SO_OOBINLINE, SO_LINGER, SO_REUSEPORT, SO_RCVLOWAT, SO_SNDLOWAT = 9, 10, 13, 15, 18, 19
SO_RCVTIMEO, SO_SNDTIMEO, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN = 20, 21, 30, 38, 39

IPPROTO_IP, IPPROTO_ICMP, IPPROTO_IGMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6 = 0, 1, 2, 6, 17, 41
IPPROTO_ICMPV6, IPPROTO_RAW = 58, 255
SOL_IP, SOL_TCP, SOL_UDP = 0, 6, 17
IP_TOS, IP_TTL, IP_MULTICAST_IF, IP_MULTICAST_TTL, IP_MULTICAST_LOOP = 1, 2, 32, 33, 34
IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP = 35, 36
IPV6_UNICAST_HOPS, IPV6_MULTICAST_IF, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP = 16, 17, 18, 19
IPV6_JOIN_GROUP, IPV6_LEAVE_GROUP, IPV6_V6ONLY = 20, 21, 26
TCP_NODELAY, TCP_MAXSEG, TCP_CORK, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT = 1, 2, 3, 4, 5, 6
TCP_USER_TIMEOUT, TCP_FASTOPEN = 18, 23

INADDR_ANY, INADDR_BROADCAST, INADDR_NONE = 0, 0xFFFFFFFF, 0xFFFFFFFF
INADDR_LOOPBACK, INADDR_UNSPEC_GROUP, INADDR_ALLHOSTS_GROUP = 0x7F000001, 0xE0000000, 0xE0000001

MSG_OOB, MSG_PEEK, MSG_DONTROUTE, MSG_CTRUNC, MSG_TRUNC, MSG_DONTWAIT, MSG_EOR = 1, 2, 4, 8, 0x20, 0x40, 0x80
SCM_RIGHTS = 1
MSG_WAITALL, MSG_NOSIGNAL, MSG_MORE = 0x100, 0x4000, 0x8000

AI_PASSIVE, AI_CANONNAME, AI_NUMERICHOST, AI_V4MAPPED, AI_ALL, AI_ADDRCONFIG, AI_NUMERICSERV = 1, 2, 4, 8, 16, 32, 1024
EAI_BADFLAGS, EAI_NONAME, EAI_AGAIN, EAI_FAIL, EAI_NODATA, EAI_FAMILY = -1, -2, -3, -4, -5, -6
EAI_SOCKTYPE, EAI_SERVICE, EAI_ADDRFAMILY, EAI_MEMORY, EAI_SYSTEM, EAI_OVERFLOW = -7, -8, -9, -10, -11, -12
NI_NUMERICHOST, NI_NUMERICSERV, NI_NOFQDN, NI_NAMEREQD, NI_DGRAM = 1, 2, 4, 8, 16
NI_MAXHOST, NI_MAXSERV = 1025, 32


class herror(OSError):  # noqa: N801
    """An error of looking up an address."""


class gaierror(OSError):  # noqa: N801
    """An error of looking up a name."""


class socket:  # noqa: N801
    """A socket, which cannot be made."""

    __slots__ = ()
    family = type = proto = -1
    timeout = None

    def __init__(self, family=-1, type=-1, proto=-1, fileno=None):  # noqa: A002
        raise _no_network()

    def fileno(self):
        return -1

    def close(self):
        """There is nothing to close."""

    def detach(self):
        return -1

    def sendmsg(self, *_args):
        raise _no_network()

    recvmsg = sendmsg


SocketType = socket


def socketpair(*_args):
    raise _no_network()


def dup(_fd):
    raise _no_network()


def close(fd):
    _os.close(fd)


def getaddrinfo(*_args, **_kwargs):
    raise gaierror(EAI_FAIL, _NETWORK)


getnameinfo = gethostbyname = gethostbyname_ex = getaddrinfo


def gethostbyaddr(_address):
    raise herror(EAI_FAIL, _NETWORK)


def gethostname():
    return "localhost"


def sethostname(_name):
    raise _no_network()


def getservbyname(_name, _protocol=None):
    raise OSError("service/proto not found")


def getservbyport(_port, _protocol=None):
    raise OSError("port/proto not found")


def getprotobyname(name):
    numbers = {"ip": 0, "icmp": 1, "tcp": 6, "udp": 17}
    if name not in numbers:
        raise OSError("protocol not found")
    return numbers[name]


def if_nameindex():
    return []


def if_nametoindex(_name):
    raise _no_network()


def if_indextoname(_index):
    raise _no_network()


_default_timeout = None


def getdefaulttimeout():
    return _default_timeout


def setdefaulttimeout(timeout):
    global _default_timeout
    if timeout is not None and timeout < 0:
        raise ValueError("Timeout value out of range")
    _default_timeout = None if timeout is None else float(timeout)


# Conversions, which need no network


def _swapped(value, size):
    if value < 0 or value >= 1 << 8 * size:
        raise OverflowError(f"number does not fit {size} bytes")
    return int.from_bytes(value.to_bytes(size, "little"), "big")


def ntohs(value):
    return _swapped(value, 2)


def ntohl(value):
    return _swapped(value, 4)


htons, htonl = ntohs, ntohl


def inet_aton(address):
    parts = address.split(".")
    try:
        numbers = [
            int(part, 8 if part[:1] == "0" and part[:2].lower() != "0x" else 0) if part != "0" else 0 for part in parts
        ]
        if not 1 <= len(numbers) <= 4 or any(not 0 <= number < 256 for number in numbers[:-1]):
            raise ValueError(address)
        return bytes(numbers[:-1]) + numbers[-1].to_bytes(5 - len(numbers), "big")
    except (ValueError, OverflowError):
        raise OSError("illegal IP address string passed to inet_aton") from None


def inet_ntoa(packed):
    if len(packed) != 4:
        raise OSError("packed IP wrong length")
    return ".".join(map(str, packed))


def inet_pton(family, address):
    import ipaddress

    classes = {AF_INET: ipaddress.IPv4Address, AF_INET6: ipaddress.IPv6Address}
    if family not in classes:
        raise OSError(97, "Address family not supported by protocol")
    try:
        return classes[family](address).packed
    except ValueError:
        raise OSError("illegal IP address string passed to inet_pton") from None


def inet_ntop(family, packed):
    import ipaddress

    sizes = {AF_INET: 4, AF_INET6: 16}
    if family not in sizes:
        raise ValueError(f"unknown address family {family}")
    if len(packed) != sizes[family]:
        raise ValueError("invalid length of packed IP address string")
    return str(ipaddress.ip_address(bytes(packed)))


def CMSG_LEN(length):  # noqa: N802
    return 16 + length


def CMSG_SPACE(length):  # noqa: N802
    return 16 + (length + 7 & ~7)
