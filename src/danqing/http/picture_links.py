"""Addresses of pictures that work without a key until they expire, for an `<img>` tag."""

import hashlib
import hmac
import math
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

LIFETIME_S = 3600
ROUNDING_S = 600  # equal addresses for so long, or a browser would fetch every picture again each second
_EXPIRES, _SIGNATURE = "expires", "signature"


class PictureLinks:
    """Signs paths. secret: None while authentication is off; then paths stay as they are."""

    def __init__(self, secret: bytes | None, *, now: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._now = now

    @property
    def are_signed(self) -> bool:
        """Whether a path needs a signature at all."""
        return self._secret is not None

    def sign(self, path: str, *, lifetime_s: int = LIFETIME_S) -> str:
        """path: decoded, without a query. Returns it URL-encoded, good for lifetime_s seconds at least."""
        if self._secret is None:
            return quote(path)
        expires = str(math.ceil((self._now() + lifetime_s) / ROUNDING_S) * ROUNDING_S)
        return f"{quote(path)}?{_EXPIRES}={expires}&{_SIGNATURE}={self._mark(self._secret, path, expires)}"

    def opens(self, path: str, query: Mapping[str, str]) -> bool:
        """Whether this query, as `sign` made it, opens the (decoded) path now."""
        if self._secret is None:
            return True
        expires = self._expiry(self._secret, path, query)
        return expires is not None and self._now() < expires

    def had_opened(self, path: str, query: Mapping[str, str]) -> bool:
        """Whether it did, and has expired."""
        expires = None if self._secret is None else self._expiry(self._secret, path, query)
        return expires is not None and self._now() >= expires

    def _expiry(self, secret: bytes, path: str, query: Mapping[str, str]) -> int | None:
        """Seconds since 1970; None for what `sign` did not make of this path."""
        expires, signature = query.get(_EXPIRES, ""), query.get(_SIGNATURE, "")
        if not (expires.isascii() and expires.isdecimal() and len(expires) <= 12):
            return None
        genuine = hmac.compare_digest(self._mark(secret, path, expires).encode(), signature.encode())
        return int(expires) if genuine else None

    def _mark(self, secret: bytes, path: str, expires: str) -> str:
        return hmac.new(secret, f"picture\0{path}\0{expires}".encode(), hashlib.sha256).hexdigest()
