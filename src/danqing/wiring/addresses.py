"""From settings to where the parts are that several processes share; none where one process does everything."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from danqing.config import InvalidSettings, Settings

_REDIS = ("redis", "rediss")


@dataclass(frozen=True, kw_only=True)
class SharedAddresses:
    """Each may have a password in it."""

    database: SecretStr
    redis: SecretStr
    broker: SecretStr


def shared_addresses(settings: Settings) -> SharedAddresses | None:
    """None where pictures are made by the server itself. Raises InvalidSettings for half of what is needed."""
    broker = settings.broker_url or settings.redis_url
    if broker is None:
        return None
    if settings.database_url is None:
        raise InvalidSettings(
            "REDIS_URL or CELERY_BROKER_URL is set, so that several processes share the jobs; DATABASE_URL must say "
            "which PostgreSQL keeps them."
        )
    redis = settings.redis_url or broker
    if _scheme(broker) is None:
        raise InvalidSettings("CELERY_BROKER_URL cannot be read: write it like amqp://user:password@host//.")
    if _scheme(redis) not in _REDIS:
        raise InvalidSettings(
            "REDIS_URL must name a Redis (redis://…): events go over it, also where another broker carries jobs."
        )
    return SharedAddresses(database=settings.database_url, redis=redis, broker=broker)


def _scheme(url: SecretStr) -> str | None:
    """None for what is no address."""
    try:
        return urlsplit(url.get_secret_value()).scheme
    except ValueError:  # brackets that do not close; its text has a part of the address
        return None


def for_one_process(settings: Settings) -> Settings:
    """The same, with nothing that is shared: for who makes a picture by himself."""
    nothing = {"database_url": None, "redis_url": None, "broker_url": None}
    return settings.model_copy(update=nothing | {"object_store": None, "picture_redirects": False})
