"""From settings to listeners, and to the app that answers on each of them."""

import ipaddress
from collections.abc import Mapping, Sequence
from functools import partial

import structlog
from fastapi import FastAPI

from danqing.config import InvalidSettings, Settings
from danqing.dialects.genserve.dialect import genserve
from danqing.dialects.live.dialect import live
from danqing.dialects.openai.dialect import openai
from danqing.dialects.turbo.dialect import turbo
from danqing.dialects.zimage.dialect import zimage
from danqing.http.app import build_app, build_dialect_app
from danqing.http.dialect import Dialect
from danqing.http.gate import GateParts
from danqing.http.listeners import Listener, OpenListener
from danqing.http.origins import GateRules
from danqing.wiring.keys import keys_of
from danqing.wiring.runtime import Runtime

log = structlog.get_logger(__name__)

DIALECTS = {"turbo": turbo, "live": live, "genserve": genserve, "zimage": zimage, "openai": openai}


def listeners(settings: Settings) -> tuple[Listener, ...]:
    """The shared port first. Raises InvalidSettings for a dialect that nobody speaks."""
    for extra in settings.listen:
        if extra.dialect not in DIALECTS:
            raise InvalidSettings(f"{extra.dialect} is not a dialect; there is {', '.join(sorted(DIALECTS))}.")
    return (
        Listener(host=settings.host, port=settings.port),
        *(Listener(host=settings.host, port=extra.port, dialect=extra.dialect) for extra in settings.listen),
    )


def check_exposure(settings: Settings) -> bool:
    """True if other machines may use the server without a key. Raises InvalidSettings if nobody said that they may."""
    if is_loopback(settings.host) or keys_of(settings).enabled:
        return False
    if not settings.allow_public:
        raise InvalidSettings(
            f"{settings.host} is reached from other machines, and no key is needed. Set DANQING_API_KEY "
            "(or API_ALLOWED_KEYS), or, if everybody who reaches it may use it, --allow-public."
        )
    return True


def build_apps(runtime: Runtime, opened: Sequence[OpenListener]) -> Mapping[OpenListener, FastAPI]:
    """The app that answers on each listener."""
    build = partial(build_app_of, runtime, gate=_gate(runtime.settings, local=is_loopback(runtime.settings.host)))
    return {one: build(one.listener.dialect) for one in opened}


def build_app_of(runtime: Runtime, dialect: str | None, *, gate: GateParts | None = None) -> FastAPI:
    """The app that speaks one dialect, or all for None. gate: without one, any Host is answered."""
    gate = gate or _gate(runtime.settings, local=False)
    if dialect is None:
        return build_app(runtime.services, gate=gate, dialects=build_dialects())
    return build_dialect_app(runtime.services, gate=gate, dialect=DIALECTS[dialect]())


def build_dialects() -> tuple[Dialect, ...]:
    """Every dialect that this version speaks."""
    return tuple(build() for build in DIALECTS.values())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server on this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _gate(settings: Settings, *, local: bool) -> GateParts:
    keys = keys_of(settings)
    if keys.enabled and keys.ordinary is None:
        log.warning("any_key_is_let_in", hint="API_ENABLE_AUTH is on, and API_ALLOWED_KEYS names no keys")
    try:
        rules = GateRules(
            loopback_only=local,
            allowed_hosts=frozenset(settings.allowed_hosts),
            allowed_origins=frozenset(settings.allowed_origins),
        )
    except ValueError as exc:
        raise InvalidSettings(f"DANQING_ALLOWED_ORIGINS: {exc}") from exc
    return GateParts(keys=keys, rules=rules)
