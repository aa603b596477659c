"""From settings to listeners, and to the app that answers on each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog
from fastapi import FastAPI

from danqing.config import InvalidSettings, Settings
from danqing.core.issued_keys import KeyRing
from danqing.dialects.genserve.dialect import genserve
from danqing.dialects.live.dialect import live
from danqing.dialects.openai.dialect import openai
from danqing.dialects.studio.dialect import studio
from danqing.dialects.turbo.dialect import turbo
from danqing.dialects.zimage.dialect import zimage
from danqing.http.app import build_app, build_dialect_app
from danqing.http.dialect import Dialect
from danqing.http.gate import GateParts
from danqing.http.listeners import Listener, OpenListener
from danqing.http.origins import GateRules, is_loopback
from danqing.http.server import Stop, first_of
from danqing.http.starting import StartingApp
from danqing.wiring.keys import LEAST_CHARS, keys_of, weak_keys
from danqing.wiring.runtime import Runtime
from danqing.wiring.services import dialect_options
from danqing.wiring.start_wait import StartWait

log = structlog.get_logger(__name__)

GOOD_KEY = "`openssl rand -hex 24` makes a good one"
DIALECTS = {"turbo": turbo, "live": live, "genserve": genserve, "zimage": zimage, "openai": openai, "studio": studio}


def listeners(settings: Settings, *, alone: str | None = None) -> tuple[Listener, ...]:
    """The shared port first; with alone it speaks this dialect only. Raises InvalidSettings for a dialect that nobody
    speaks, and for a port that is named twice.
    """
    for extra in settings.listen:
        if extra.dialect not in DIALECTS:
            raise InvalidSettings(f"{extra.dialect} is not a dialect; there is {', '.join(sorted(DIALECTS))}.")
    _check_ports(settings, first_speaks=alone or "every dialect")
    return (
        Listener(host=settings.host, port=settings.port, dialect=alone),
        *(Listener(host=settings.host, port=extra.port, dialect=extra.dialect) for extra in settings.listen),
    )


def _check_ports(settings: Settings, *, first_speaks: str) -> None:
    named = {settings.port: f"DANQING_PORT (PORT, --port), which has {first_speaks},"}
    for extra in settings.listen:
        here = f"DANQING_LISTEN (--listen {extra.dialect}={extra.port})"
        if extra.port and extra.port in named:
            raise InvalidSettings(
                f"{named[extra.port]} and {here} both name port {extra.port}. Leave one out, or choose another port."
            )
        named[extra.port] = here


def check_exposure(settings: Settings) -> bool:
    """True if whoever reaches the server from another machine may use it. Raises InvalidSettings if nobody said so."""
    keys = keys_of(settings)
    if is_loopback(settings.host) or not keys.let_anybody_in:
        return False
    if not settings.allow_public:
        needed = "any key is let in" if keys.enabled else "no key is needed"
        raise InvalidSettings(
            f"{settings.host} is reached from other machines, and {needed}. Set DANQING_API_KEY "
            "(or API_ALLOWED_KEYS), or, if everybody who reaches it may use it, --allow-public "
            "(DANQING_ALLOW_PUBLIC=true)."
        )
    return True


def build_apps(runtime: Runtime, opened: Sequence[OpenListener]) -> Mapping[OpenListener, FastAPI]:
    """The app that answers on each listener."""
    settings = runtime.settings
    gate = gate_of(settings, loopback_only=is_loopback(settings.host), local_clients_only=False, ring=_ring_of(runtime))
    return {one: _build_app(runtime, one.listener.dialect, gate) for one in opened}


def build_starting_apps(
    settings: Settings, opened: Sequence[OpenListener], *, stop: Stop, wait: StartWait
) -> Mapping[OpenListener, StartingApp]:
    """What answers on each listener until the server is there."""
    return {one: build_starting_app(settings, one.listener.dialect, stop=stop, wait=wait) for one in opened}


def build_starting_app(settings: Settings, dialect: str | None, *, stop: Stop, wait: StartWait) -> StartingApp:
    """For one port, of one dialect or, for None, of all."""
    return StartingApp(
        dialects=build_dialects() if dialect is None else (DIALECTS[dialect](),),
        alone=dialect is not None,
        options=dialect_options(settings),
        waiting=lambda: first_of(wait.begun.wait(), stop.gracefully.wait()),
    )


def build_managed_app(runtime: Runtime, dialect: str | None) -> FastAPI:
    """The app that speaks one dialect, or all for None, where somebody else chooses the address.

    So `check_exposure` cannot judge it: without keys, other machines are refused one by one, unless they may come.
    """
    settings = runtime.settings
    open_to_all = keys_of(settings).let_anybody_in and settings.allow_public
    if open_to_all:
        log.warning("open_to_whoever_reaches_it", hint="no listed key is needed; see SECURITY.md")
    local_clients_only = keys_of(settings).let_anybody_in and not open_to_all
    gate = gate_of(settings, loopback_only=None, local_clients_only=local_clients_only, ring=_ring_of(runtime))
    return _build_app(runtime, dialect, gate)


def _ring_of(runtime: Runtime) -> KeyRing:
    return runtime.services.key_ring


def _build_app(runtime: Runtime, dialect: str | None, gate: GateParts) -> FastAPI:
    watching, gate = runtime.measuring.watching, replace(gate, tickets=runtime.tickets)
    if dialect is None:
        return build_app(runtime.services, gate=gate, dialects=build_dialects(), watching=watching)
    return build_dialect_app(runtime.services, gate=gate, dialect=DIALECTS[dialect](), watching=watching)


def build_dialects() -> tuple[Dialect, ...]:
    """Every dialect that this version speaks."""
    return tuple(build() for build in DIALECTS.values())


def gate_of(
    settings: Settings, *, loopback_only: bool | None, local_clients_only: bool, ring: KeyRing | None = None
) -> GateParts:
    """One for all apps of a server; see `GateRules`. ring: of keys that were issued. Raises InvalidSettings."""
    keys = keys_of(settings, issued=ring)
    if keys.enabled and keys.ordinary is None:
        log.warning("any_key_is_let_in", hint="API_ENABLE_AUTH is on, and API_ALLOWED_KEYS names no keys")
    if keys.enabled and not (loopback_only or local_clients_only):
        for variable in weak_keys(settings):
            log.warning("weak_key", variable=variable, hint=f"shorter than {LEAST_CHARS} characters; {GOOD_KEY}")
    try:
        rules = GateRules(
            loopback_only=loopback_only,
            local_clients_only=local_clients_only,
            allowed_hosts=frozenset(settings.allowed_hosts),
            allowed_origins=frozenset(settings.allowed_origins),
        )
    except ValueError as exc:
        raise InvalidSettings(f"DANQING_ALLOWED_ORIGINS or DANQING_ALLOWED_HOSTS: {exc}") from exc
    return GateParts(keys=keys, rules=rules)
