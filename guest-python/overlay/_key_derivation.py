"""`hashlib.pbkdf2_hmac` and `hashlib.scrypt`, which CPython has from OpenSSL only."""

from __future__ import annotations

from _ppwasm_key_derivation import pbkdf2 as _pbkdf2
from _ppwasm_key_derivation import scrypt_mix as _scrypt_mix

_INT_MAX = 2**31 - 1
_SCRYPT_MEMORY_BYTES = 32 * 1024 * 1024
"""What OpenSSL allows when `maxmem` is 0."""

_NOT_FOR_HMAC = ("shake_128", "shake_256")


def pbkdf2_hmac(hash_name, password, salt, iterations, dklen=None):
    """Password based key derivation function 2 (PKCS #5 v2.0) with HMAC as pseudorandom function."""
    import hashlib

    if not isinstance(hash_name, str):
        raise TypeError(f"pbkdf2_hmac() argument 'hash_name' must be str, not {type(hash_name).__name__}")
    try:
        digest = None if hash_name in _NOT_FOR_HMAC else hashlib.new(hash_name)
    except ValueError:
        digest = None
    if digest is None:
        raise ValueError(f"unsupported hash type {hash_name}")
    password, salt = _octets(password), _octets(salt)
    if iterations < 1:
        raise ValueError("iteration value must be greater than 0.")
    if iterations > _INT_MAX:
        raise OverflowError("iteration value is too great.")
    if dklen is None:
        dklen = digest.digest_size
    if dklen < 1:
        raise ValueError("key length must be greater than 0.")
    if dklen > _INT_MAX:
        raise OverflowError("key length is too great.")
    key = _pbkdf2(digest.name, password, salt, iterations, dklen)
    return _pbkdf2_in_python(digest, password, salt, iterations, dklen) if key is None else key


def _pbkdf2_in_python(digest, password, salt, iterations, dklen):
    """For the digests that the C part does not have."""
    import hmac

    keyed = hmac.new(password, digestmod=digest.name)

    def authenticated(data):
        code = keyed.copy()
        code.update(data)
        return code.digest()

    size = digest.digest_size
    key = bytearray()
    for part in range(1, -(-dklen // size) + 1):
        last = authenticated(salt + part.to_bytes(4, "big"))
        total = int.from_bytes(last, "big")
        for _ in range(iterations - 1):
            last = authenticated(last)
            total ^= int.from_bytes(last, "big")
        key += total.to_bytes(size, "big")
    return bytes(key[:dklen])


def scrypt(password, *, salt=None, n=None, r=None, p=None, maxmem=0, dklen=64):
    """The scrypt password-based key derivation function of RFC 7914."""
    password = _octets(password)
    if salt is None:
        raise TypeError("salt is required")
    salt = _octets(salt)
    for name, value in (("n", n), ("r", r), ("p", p)):
        if not isinstance(value, int):
            raise TypeError(f"{name} is required and must be an unsigned int")
        if value < 0:
            raise ValueError(f"{name} must be positive")
    if n < 2 or n & (n - 1):
        raise ValueError("n must be a power of 2.")
    if not 0 <= maxmem <= _INT_MAX:
        raise ValueError(f"maxmem must be positive and smaller than {_INT_MAX}")
    if not 1 <= dklen <= _INT_MAX:
        raise ValueError(f"dklen must be greater than 0 and smaller than {_INT_MAX}")
    # The limits of OpenSSL.
    bytes_needed = 128 * r * (p + n + 2)
    if not r or not p or p * r >= 2**30 or n >= 1 << min(16 * r, 64) or bytes_needed > (maxmem or _SCRYPT_MEMORY_BYTES):
        raise ValueError("Invalid parameter combination for n, r, p, maxmem.")
    blocks = _pbkdf2("sha256", password, salt, 1, 128 * r * p)
    return _pbkdf2("sha256", password, _scrypt_mix(blocks, n, r), 1, dklen)


def _octets(data):
    """The bytes of anything with a buffer, as a copy that nobody changes meanwhile."""
    if isinstance(data, str):
        raise TypeError("a bytes-like object is required, not 'str'")
    return bytes(memoryview(data))
