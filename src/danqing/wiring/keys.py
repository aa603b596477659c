"""From settings to the keys that let callers in."""

from danqing.config import Settings
from danqing.http.keys import Keys


def keys_of(settings: Settings) -> Keys:
    """Who is let in."""
    named = [*settings.allowed_keys, *([settings.api_key] if settings.api_key else [])]
    ordinary = frozenset(text for key in named if (text := key.get_secret_value()))
    admin = settings.admin_key.get_secret_value() if settings.admin_key else None
    enabled = bool(ordinary or admin) if settings.enable_auth is None else settings.enable_auth
    anybody = not ordinary and settings.enable_auth is True
    return Keys(enabled=enabled, ordinary=None if anybody else ordinary, admin=admin)
