"""From where requests are taken: which pages may call this server, and under which names it may be called.

A browser lets any page send requests to any address. `Origin` says which page it was, and `Host` under which name the
server was found; a hostile page that had its own name point at this machine shows there.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from danqing.core.errors import Forbidden

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PREFLIGHT_AGE_S = 600


@dataclass(frozen=True, kw_only=True)
class GateRules:
    """loopback_only: the server listens on loopback addresses only, so who names it otherwise was misled.

    allowed_hosts: names that it answers to besides, without a port. allowed_origins: pages of these origins
    ("https://studio.example", without a path) may call it, besides its own and those of this machine.
    """

    loopback_only: bool
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Raises ValueError for an allowed origin that no browser would send so; the message is for who wrote it."""
        for origin in self.allowed_origins:
            if _parse(origin) is None:
                raise ValueError(
                    f"{origin} is not an origin; write it like https://studio.example:8443, without a path."
                )

    def check_host(self, headers: Headers) -> None:
        """Raises Forbidden."""
        if not self.loopback_only:
            return
        for host in headers.getlist("host"):
            name = _host_name(host)
            if name is None or not (_is_loopback(name) or name in map(str.lower, self.allowed_hosts)):
                raise Forbidden("The server does not answer to this name; see the setting allowed_hosts.")

    def check_origin(self, method: str | None, headers: Headers) -> None:
        """method: None for a WebSocket's handshake. Raises Forbidden."""
        if method in _SAFE_METHODS:
            return
        origins = headers.getlist("origin")
        if len(origins) > 1 or not all(self._is_welcome(origin, headers) for origin in origins):
            raise Forbidden("Pages of this origin may not call the server; see the setting allowed_origins.")

    def may_read(self, headers: Headers) -> str | None:
        """The origin whose pages a browser may show answers to; None if there is none, or it needs no leave."""
        origins = headers.getlist("origin")
        return origins[0] if len(origins) == 1 and self._is_listed(origins[0]) else None

    def _is_welcome(self, origin: str, headers: Headers) -> bool:
        return self._is_listed(origin) or _is_own(origin, headers.getlist("host"))

    def _is_listed(self, origin: str) -> bool:
        parsed = _parse(origin)
        return parsed is not None and (_is_loopback(parsed[1]) or parsed in map(_parse, self.allowed_origins))


def cors_headers(origin: str) -> dict[str, str]:
    """For every answer to a page of this origin."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "Content-Disposition, Location, Retry-After, X-Request-Id",
    }


def preflight_headers(headers: Headers) -> Mapping[str, str]:
    """What a page of a welcome origin may send: whatever it asked to."""
    answer = {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "Access-Control-Max-Age": str(_PREFLIGHT_AGE_S),
    }
    if wanted := headers.get("access-control-request-headers"):
        answer["Access-Control-Allow-Headers"] = wanted
    if headers.get("access-control-request-private-network") == "true":
        answer["Access-Control-Allow-Private-Network"] = "true"
    return answer


def _parse(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for what is no origin of a page that was fetched ("null", a file's, nonsense)."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
        return None
    if "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname, _DEFAULT_PORTS[parts.scheme] if port is None else port


def _is_own(origin: str, hosts: list[str]) -> bool:
    """Whether the page came from the address that it calls. Behind a proxy that ends TLS only the page knows of it."""
    parsed = _parse(origin)
    return parsed is not None and len(hosts) == 1 and _parse(f"{parsed[0]}://{hosts[0].lower()}") == parsed


def _host_name(host: str) -> str | None:
    parsed = _parse(f"http://{host.lower()}")
    return parsed[1] if parsed else None


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
