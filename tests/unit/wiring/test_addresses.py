"""Which settings make a server one of several, and what they need."""

import pytest

from danqing.config import InvalidSettings, Settings
from danqing.wiring import for_one_process
from danqing.wiring.addresses import shared_addresses

DATABASE, REDIS, RABBIT = "postgresql://db/danqing", "redis://:secret@redis/0", "amqp://mq//"


def settings(**fields: object) -> Settings:
    return Settings.model_validate(fields)


def test_one_process_does_everything_unless_a_redis_or_a_broker_is_named() -> None:
    assert shared_addresses(settings()) is None
    assert shared_addresses(settings(database_url=DATABASE)) is None


@pytest.mark.parametrize(
    ("fields", "redis", "broker"),
    [
        ({"redis_url": REDIS}, REDIS, REDIS),
        ({"redis_url": REDIS, "broker_url": RABBIT}, REDIS, RABBIT),
        ({"broker_url": REDIS}, REDIS, REDIS),
    ],
)
def test_events_go_over_redis_and_jobs_over_the_broker(fields: dict[str, str], redis: str, broker: str) -> None:
    found = shared_addresses(settings(database_url=DATABASE, **fields))
    assert found is not None
    assert (found.redis.get_secret_value(), found.broker.get_secret_value()) == (redis, broker)
    assert "secret" not in repr(found)


def test_half_of_what_is_needed_is_told() -> None:
    with pytest.raises(InvalidSettings, match="DATABASE_URL must say"):
        shared_addresses(settings(redis_url=REDIS))
    with pytest.raises(InvalidSettings, match="REDIS_URL must name a Redis"):
        shared_addresses(settings(database_url=DATABASE, broker_url=RABBIT))


@pytest.mark.parametrize("field", ["redis_url", "broker_url"])
def test_what_is_no_address_is_told_without_it(field: str) -> None:
    with pytest.raises(InvalidSettings, match=r"REDIS_URL|CELERY_BROKER_URL") as refused:
        shared_addresses(settings(**{"database_url": DATABASE, "redis_url": REDIS, field: "redis://:sesame@[host"}))
    assert "sesame" not in str(refused.value)


def test_who_makes_a_picture_by_himself_shares_nothing() -> None:
    alone = for_one_process(settings(database_url=DATABASE, redis_url=REDIS, object_store="s3://bucket"))
    assert shared_addresses(alone) is None
    assert alone.database_url is None
    assert alone.object_store is None
