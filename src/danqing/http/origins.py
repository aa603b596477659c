"""From where requests are taken: which machines and pages may call this server, and under which names.

A browser lets any page send requests to any address. `Origin` says which page it was, and `Host` under which name the
server was found; a hostile page that had its own name point at this machine shows there.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from danqing.core.errors import Forbidden
from danqing.http.warnings import HEADER as WARNING_HEADER

OPAQUE = "null"  # the origin of a page that was not fetched from an address, or must not say from which
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PREFLIGHT_AGE_S = 600
_REMEMBERED = 64  # texts of strangers, each no longer than a head may be; most requests name the same few
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")  # as it is sent: of other alphabets in its ASCII form


@dataclass(frozen=True, kw_only=True)
class GateRules:
    """loopback_only: the server listens on loopback addresses only, so who names it otherwise was misled; None: others
    chose the address, and each connection is judged by the one that it came to.

    allowed_hosts: names, without a port, that it answers to besides those of this machine; if there are any, it answers
    to no others, whatever the address. allowed_origins: pages of these origins ("https://studio.example", without a
    path) may call it, besides its own and those of this machine; OPAQUE: files opened in a browser, and with them any
    page that hides where it came from. local_clients_only: other machines may not.
    """

    loopback_only: bool | None
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()
    local_clients_only: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for a host or an origin that no client would send so; the message is for who wrote it."""
        for host in self.allowed_hosts:
            if not _NAME.fullmatch(_plain(host)) and not _is_address(_plain(host)):
                shown = "That" if "@" in host else host  # it may have a password in it
                raise ValueError(f"{shown} is not a host name; write it like studio.example, without scheme and port.")
        for origin in self.allowed_origins:
            if origin != OPAQUE and _parse(origin) is None:
                raise ValueError("Not an origin; write it like https://studio.example:8443, without a path.")

    def check_client(self, scope: Scope) -> None:
        """Raises Forbidden."""
        if self.local_clients_only and not _is_local(scope):
            raise Forbidden(
                "Other machines may not use this server without a key. Whoever runs it can set DANQING_API_KEY "
                "(or API_ALLOWED_KEYS), or, if everybody who reaches it may use it, DANQING_ALLOW_PUBLIC=true.",
                reason="other_machine",
            )

    def check_host(self, scope: Scope, headers: Headers) -> None:
        """Raises Forbidden."""
        loopback = _came_to_loopback(scope) if self.loopback_only is None else self.loopback_only
        if not (loopback or self.allowed_hosts):
            return
        for host in headers.getlist("host"):
            name = _host_name(host)
            if name is None or not (_is_loopback(name) or name in self._hosts):
                raise Forbidden(
                    "The server does not answer to this name; see the setting allowed_hosts.", reason="host_name"
                )

    def check_origin(self, headers: Headers) -> None:
        """Whatever the method: a page that may not read the answer has no use for it. Raises Forbidden."""
        origins = headers.getlist("origin")
        if len(origins) > 1 or not all(self._is_welcome(origin, headers) for origin in origins):
            raise Forbidden(
                "Pages of this origin may not call the server; see the setting allowed_origins.", reason="foreign_page"
            )

    def may_read(self, headers: Headers) -> str | None:
        """The origin whose pages a browser may show answers to; None if there is none, or it needs no leave."""
        origins = headers.getlist("origin")
        return origins[0] if len(origins) == 1 and self._is_listed(origins[0]) else None

    def may_show(self, headers: Headers) -> bool:
        """Whether the page that asks, as it says in `Referer`, may show a picture of this server as part of itself.

        A file that was opened in a browser says nothing there.
        """
        pages = headers.getlist("referer")
        if not pages:
            return OPAQUE in self.allowed_origins
        return len(pages) == 1 and self._is_listed("/".join(pages[0].split("/", 3)[:3]))

    @cached_property
    def _hosts(self) -> frozenset[str]:
        return frozenset(map(_plain, self.allowed_hosts))

    def _is_welcome(self, origin: str, headers: Headers) -> bool:
        return self._is_listed(origin) or _is_own(origin, headers.getlist("host"))

    def _is_listed(self, origin: str) -> bool:
        if origin == OPAQUE:
            return OPAQUE in self.allowed_origins
        parsed = _parse(origin)
        return parsed is not None and (_is_loopback(parsed[1]) or parsed in map(_parse, self.allowed_origins))


def cors_headers(origin: str) -> dict[str, str]:
    """For every answer to a page of this origin."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": f"Content-Disposition, Location, Retry-After, {WARNING_HEADER}, X-Request-Id",
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


@lru_cache(maxsize=_REMEMBERED)
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
    """Without port and brackets, and without the dot with which a whole name may end."""
    parsed = _parse(f"http://{host.lower()}")
    return _plain(parsed[1]) if parsed else None


def _plain(name: str) -> str:
    return name.lower().removesuffix(".").removeprefix("[").removesuffix("]")


def _is_loopback(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost") or is_loopback_address(name)


@lru_cache(maxsize=_REMEMBERED)
def is_loopback_address(text: str) -> bool:
    """Whether this is an IP address that leads to the machine itself. A name is none."""
    if not _is_address(text):
        return False
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server on this address."""
    return host == "localhost" or is_loopback_address(host)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_local(scope: Scope) -> bool:
    """Whether the client is on this machine. One at a Unix socket has no address, and the server no port."""
    client, server = scope.get("client"), scope.get("server")
    if client is None:
        return server is not None and server[1] is None
    return is_loopback_address(client[0])


def _came_to_loopback(scope: Scope) -> bool:
    server = scope.get("server")
    return server is not None and is_loopback_address(server[0])
