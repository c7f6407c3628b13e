"""The C part of `socket` in a sandbox: names and conversions, and an error for everything that would need a network."""

import os as _os
from contextlib import suppress as _suppress

from _sandbox import NETWORK as _NETWORK
from _sandbox import descriptor as _descriptor
from _sandbox import no_network as _no_network

error = OSError
timeout = TimeoutError
has_ipv6 = False

# The values of Linux, which programs have in mind. There is no AF_UNIX: programs look whether it is there.
AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10
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


def _needs_network(name):
    def method(self, *_args, **_kwargs):
        raise _no_network()

    method.__name__ = name
    method.__qualname__ = f"socket.{name}"
    return method


class socket:  # noqa: N801
    """A socket, which cannot be made. It has all methods that sockets have: mocks of them are made by looking."""

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

    for _name in (
        *("_accept", "bind", "connect", "connect_ex", "getblocking", "getpeername", "getsockname", "getsockopt"),
        *("gettimeout", "listen", "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "send"),
        *("sendall", "sendmsg", "sendto", "setblocking", "setsockopt", "settimeout", "shutdown"),
    ):
        locals()[_name] = _needs_network(_name)
    del _name


SocketType = socket


def socketpair(*_args):
    raise _no_network()


def dup(_fd):
    raise _no_network()


def close(fd):
    _os.close(_descriptor(fd))


# Names and addresses: what is known without asking anybody


def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
    socket_type, protocol = type, proto
    if host is None and port is None:
        raise gaierror(EAI_NONAME, "Name or service not known")
    if family not in (AF_UNSPEC, AF_INET, AF_INET6):
        raise gaierror(EAI_FAMILY, "ai_family not supported")
    address_family, address = _address(_text(host, "getaddrinfo() argument 1"), flags)
    if family not in (AF_UNSPEC, address_family):
        raise gaierror(EAI_ADDRFAMILY, "Address family for hostname not supported")
    kinds = [
        kind
        for kind in ((SOCK_STREAM, IPPROTO_TCP), (SOCK_DGRAM, IPPROTO_UDP), (SOCK_RAW, IPPROTO_IP))
        if socket_type in (0, kind[0]) and (protocol in (0, kind[1]) or kind[0] == SOCK_RAW)
    ]
    if not kinds:
        raise gaierror(EAI_SOCKTYPE, "ai_socktype not supported")
    number = _port(port, kinds, flags)
    rest = (0, 0) if address_family == AF_INET6 else ()
    name = host if flags & AI_CANONNAME and host is not None else ""
    return [
        (address_family, kind, protocol if kind == SOCK_RAW else of_kind, name, (address, number, *rest))
        for kind, of_kind in kinds
    ]


def _text(host, what):
    if host is None or isinstance(host, str):
        return host
    if isinstance(host, (bytes, bytearray)):
        return bytes(host).decode("ascii")
    raise TypeError(f"{what} must be string or None")


def _address(host, flags=0):
    """The family and the address of a name that needs no network."""
    if host is None:
        return AF_INET, "0.0.0.0" if flags & AI_PASSIVE else "127.0.0.1"
    try:
        return AF_INET, inet_ntoa(inet_aton(host))
    except OSError:
        pass
    if ":" in host:
        try:
            return AF_INET6, inet_ntop(AF_INET6, inet_pton(AF_INET6, host.partition("%")[0]))
        except OSError:
            pass
    if flags & AI_NUMERICHOST:
        raise gaierror(EAI_NONAME, "Name or service not known")
    if host.rstrip(".").lower() == "localhost":
        return AF_INET, "127.0.0.1"
    raise gaierror(EAI_FAIL, _NETWORK)


def _port(port, kinds, flags):
    if port is None:
        return 0
    if isinstance(port, int):
        return port & 0xFFFF
    name = _text(port, "Int or String expected; port")
    if name.isascii() and name.isdigit():
        return int(name) & 0xFFFF
    try:
        if flags & AI_NUMERICSERV:
            raise OSError
        return getservbyname(name, "udp" if kinds[0][0] == SOCK_DGRAM else "tcp")
    except OSError:
        raise gaierror(EAI_SERVICE, "Servname not supported for ai_socktype") from None


def gethostbyname(name, /):
    family, address = _address(_text(name, "gethostbyname() argument 1") or "0.0.0.0")
    if family != AF_INET:
        raise gaierror(EAI_ADDRFAMILY, "Address family for hostname not supported")
    return address


def gethostbyname_ex(name, /):
    address = gethostbyname(name)
    return (name, [], [address])


def gethostbyaddr(address, /):
    try:
        found = _address(_text(address, "gethostbyaddr() argument 1"))[1]
    except gaierror:
        found = None
    if found in ("127.0.0.1", "::1"):
        return ("localhost", [], [found])
    raise herror(EAI_FAIL, _NETWORK)


def getnameinfo(sockaddr, flags, /):
    if not isinstance(sockaddr, tuple):
        raise TypeError("getnameinfo() argument 1 must be a tuple")
    address, port = sockaddr[:2]
    host = _address(address, AI_NUMERICHOST)[1]
    if not flags & NI_NUMERICHOST:
        if host in ("127.0.0.1", "::1"):
            host = "localhost"
        elif flags & NI_NAMEREQD:
            raise gaierror(EAI_FAIL, _NETWORK)
    service = str(port)
    if not flags & NI_NUMERICSERV:
        with _suppress(OSError):
            service = getservbyport(port, "udp" if flags & NI_DGRAM else "tcp")
    return (host, service)


def gethostname():
    return "localhost"


def sethostname(_name):
    raise _no_network()


# The few lines of /etc/services that programs ask for by name.
_SERVICES = {
    "echo": 7,
    "discard": 9,
    "daytime": 13,
    "ftp": 21,
    "ssh": 22,
    "telnet": 23,
    "smtp": 25,
    "domain": 53,
    "http": 80,
    "pop3": 110,
    "ntp": 123,
    "imap2": 143,
    "ldap": 389,
    "https": 443,
    "submission": 587,
    "ldaps": 636,
    "imaps": 993,
    "pop3s": 995,
}
_UDP_SERVICES = {"echo", "discard", "daytime", "domain", "ntp", "ldap", "https"}


def _has_service(name, protocol):
    return (protocol in (None, "tcp") and name != "ntp") or (protocol in (None, "udp") and name in _UDP_SERVICES)


def getservbyname(name, protocol=None, /):
    if name not in _SERVICES or not _has_service(name, protocol):
        raise OSError("service/proto not found")
    return _SERVICES[name]


def getservbyport(port, protocol=None, /):
    if not 0 <= port <= 0xFFFF:
        raise OverflowError("getservbyport: port must be 0-65535.")
    for name, number in _SERVICES.items():
        if number == port and _has_service(name, protocol):
            return name
    raise OSError("port/proto not found")


def getprotobyname(name, /):
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
