"""From settings to the keys that let callers in."""

from danqing.config import Settings, variable_of
from danqing.core.issued_keys import KeyRing
from danqing.http.keys import Keys
from danqing.wiring.start_wait import DATABASE, StartWait
from danqing.wiring.stores import Stores

LEAST_CHARS = 16  # of a key that nobody guesses in years over a network


def weak_keys(settings: Settings) -> tuple[str, ...]:
    """The settings that name a key which others may guess, as variables."""
    named = {
        "api_key": [settings.api_key] if settings.api_key else [],
        "allowed_keys": settings.allowed_keys,
        "admin_key": [settings.admin_key] if settings.admin_key else [],
    }
    return tuple(
        f"DANQING_{field.upper()} ({', '.join(variable_of(field).aliases)})"
        for field, keys in named.items()
        if any(0 < len(key.get_secret_value()) < LEAST_CHARS for key in keys)
    )


def keys_of(settings: Settings, *, issued: KeyRing | None = None) -> Keys:
    """Who is let in. issued: keys beside those of the settings."""
    named = [*settings.allowed_keys, *([settings.api_key] if settings.api_key else [])]
    ordinary = frozenset(text for key in named if (text := key.get_secret_value()))
    admin = settings.admin_key.get_secret_value() if settings.admin_key else None
    enabled = bool(ordinary or admin) if settings.enable_auth is None else settings.enable_auth
    anybody = not ordinary and settings.enable_auth is True
    return Keys(enabled=enabled, ordinary=None if anybody else ordinary, admin=admin, issued=issued)


async def secret_of(settings: Settings, stores: Stores, wait: StartWait) -> bytes:
    """See `Stores.secret`; empty where keys are not asked for. Waits for a database that is away."""
    return await wait.until_there(DATABASE, stores.secret) if keys_of(settings).enabled else b""
