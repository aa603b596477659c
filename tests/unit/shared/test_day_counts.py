"""What an owner had accepted within 24 hours, at all processes together."""

import asyncio

import pytest

from danqing.redis_link import RedisLink
from danqing.shared.day_counts import LEARNED_KEY, LEARNING_KEY, SharedDayCounts, day_key
from tests.contracts.day_counts import HOUR, Calendar, DayCountsContract
from tests.fakes.domain import NOW
from tests.services.redis import RedisServer


class TestSharedDayCounts(DayCountsContract):
    implementation = SharedDayCounts

    @pytest.fixture
    def days(self, link: RedisLink, calendar: Calendar) -> SharedDayCounts:
        return SharedDayCounts(link, kept=calendar.kept, now=calendar)


async def test_of_takes_at_once_at_two_processes_exactly_as_many_count_as_there_is_room(
    link: RedisLink, other_link: RedisLink, redis_server: RedisServer
) -> None:
    calendar = Calendar()
    calendar.kept.accepted = [("ann", NOW - HOUR)]
    one, other = (SharedDayCounts(way, kept=calendar.kept, now=calendar) for way in (link, other_link))
    # Given that neither has learned what was before
    answers = await asyncio.gather(*(at.take("ann", 1, 10) for at in (one, other) for _ in range(10)))
    assert answers.count(None) == 9
    assert redis_server.run("TTL", day_key("ann")) not in (b":-1\r\n", b":-2\r\n")


async def test_after_a_flush_the_store_is_asked(link: RedisLink, redis_server: RedisServer) -> None:
    calendar = Calendar()
    days = SharedDayCounts(link, kept=calendar.kept, now=calendar)
    await days.load()
    assert await days.take("ann", 2, 2) is None
    # Given that the two are stored, and Redis has lost everything
    calendar.kept.accepted = [("ann", NOW), ("ann", NOW)]
    redis_server.flush()
    assert await days.take("ann", 1, 2) is not None
    assert await days.take("ann", 1, 3) is None
    assert await days.take("ann", 1, 3) is not None


async def test_without_owners_all_count_for_all(link: RedisLink) -> None:
    calendar = Calendar()
    calendar.kept.accepted = [("ann", NOW), ("bob", NOW)]
    days = SharedDayCounts(link, kept=calendar.kept, now=calendar, per_owner=False)
    await days.load()
    assert await days.take(None, 1, 2) is not None


async def test_while_redis_is_away_what_this_process_knows_counts(link: RedisLink, redis_server: RedisServer) -> None:
    calendar = Calendar()
    calendar.kept.accepted = [("ann", NOW - HOUR)]
    days = SharedDayCounts(link, kept=calendar.kept, now=calendar)
    await days.load()
    assert await days.take("ann", 1, 3) is None
    redis_server.kill()
    try:
        assert await days.take("ann", 1, 3) is None
        assert await days.take("ann", 1, 3) is not None
        await days.give_back("ann", 1)
        assert await days.take("ann", 1, 3) is None
        # And a process that starts meanwhile starts all the same
        late = SharedDayCounts(link, kept=calendar.kept, now=calendar)
        await late.load()
        assert await late.take("ann", 3, 3) is not None
    finally:
        redis_server.start()


async def test_what_was_accepted_without_redis_counts_when_it_is_back_with_what_it_knew(
    link: RedisLink, other_link: RedisLink
) -> None:
    calendar = Calendar()
    one, other = (SharedDayCounts(way, kept=calendar.kept, now=calendar) for way in (link, other_link))
    for each in (one, other):
        await each.load()

    async def takes(times: int) -> int:
        """How many are accepted, and stored."""
        before = len(calendar.kept.accepted)
        for _ in range(times):
            for each in (one, other):
                if await each.take("ann", 1, 13) is None:
                    calendar.kept.accepted.append(("ann", calendar.now))
        return len(calendar.kept.accepted) - before

    # Given some that Redis knows of, and others that were accepted while it was away
    assert await takes(2) == 4
    with pytest.MonkeyPatch.context() as away:
        away.setattr(type(link), "is_resting", property(lambda _: True))
        assert await takes(4) == 8
    # When it is back, then all of them count, each once
    assert await takes(2) == 1
    del calendar.kept.accepted[3:]
    assert await takes(20) == 0


async def test_a_process_that_tells_redis_for_long_keeps_nobody_waiting_and_need_not_begin_again(
    link: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given another process that has begun to tell Redis
    monkeypatch.setattr("danqing.shared.day_counts.WAIT_S", 0.0)
    await link.ask(("SET", LEARNING_KEY, "", "EX", 100))
    calendar = Calendar()
    days = SharedDayCounts(link, kept=calendar.kept, now=calendar)
    # Then each process counts what it has accepted itself
    assert await days.take("ann", 1, 1) is None
    assert await days.take("ann", 1, 1) is not None
    # And when that has been told, only what comes then is added to it
    await link.ask(("SET", LEARNED_KEY, ""), ("DEL", LEARNING_KEY))
    assert await days.take("ann", 1, 5) is None
    assert await link.ask(("EXISTS", LEARNED_KEY), ("ZCARD", day_key("ann"))) == [1, 1]
