"""A job is watched once for all who follow it, and each of them hears everything from when he came."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import structlog

from danqing.core.callers import LOCAL, Caller
from danqing.core.clock import utc_now
from danqing.core.errors import JobNotFound
from danqing.core.orders import Order
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.core.types import Job, RequestDraft
from danqing.dialects.live.feeds import AT_ONCE, Feeds
from danqing.dialects.live.letters import JobNews, News
from tests.dialects.house import House
from tests.dialects.live.running import a_house, until

OWNER = Caller(owner=LOCAL.owner)


class Ear:
    """A follower. What it does when it hears something may be given."""

    def __init__(self, at_news: Callable[[News], None] | None = None) -> None:
        self.heard: list[JobState | int] = []  # states, and numbers of steps
        self.over_with: list[Exception | None] = []
        self._at_news = at_news

    def take(self, news: News) -> None:
        self.heard.append(news.job.state if isinstance(news, JobNews) else news.progress.step)
        if self._at_news is not None:
            self._at_news(news)

    def over(self, failure: Exception | None) -> None:
        self.over_with.append(failure)


@pytest.fixture
async def house(tmp_path: Path) -> House:
    house = a_house(tmp_path)
    await house.open()
    return house


@pytest.fixture
def feeds(house: House) -> Feeds:
    return Feeds(studio=house.services.studio, sign=house.services.links.sign)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that the studio was asked to watch."""
    watch, seen = Studio.watch, list[str]()

    def noted(self: Studio, job_id: str, **options: Any) -> AbstractAsyncContextManager[Any]:  # noqa: ANN401 - as it has
        seen.append(job_id)
        return watch(self, job_id, **options)

    monkeypatch.setattr(Studio, "watch", noted)
    return seen


async def a_pending_job(house: House) -> Job:
    return await house.services.studio.submit(Order(draft=RequestDraft(prompt="a pizza")))


async def test_many_hear_everything_from_one_watch(house: House, feeds: Feeds, watched: list[str]) -> None:
    # Given more followers than are told in one go, each at once or later
    job = await a_pending_job(house)
    ears = [Ear() for _ in range(2 * AT_ONCE + 1)]
    for ear in ears[:-1]:
        feeds.join(job.id, LOCAL, ear)
    await until(lambda: all(ear.heard for ear in ears[:-1]))
    feeds.join(job.id, LOCAL, ears[-1])

    await house.painter.start(job.id)
    for step in (1, 2):
        house.painter.step(job.id, step, 2)
    await house.painter.finish(job.id)
    await until(lambda: all(ear.over_with for ear in ears))

    assert {tuple(ear.heard) for ear in ears} == {
        (JobState.PENDING, JobState.PROCESSING, 1, 2, JobState.COMPLETED),
    }
    assert {tuple(ear.over_with) for ear in ears} == {(None,)}
    assert watched == [job.id]


async def test_who_comes_later_hears_how_it_is_and_what_follows(house: House, feeds: Feeds) -> None:
    job, first, second = await a_pending_job(house), Ear(), Ear()
    feeds.join(job.id, LOCAL, first)
    await until(lambda: bool(first.heard))
    await house.painter.start(job.id)
    house.painter.step(job.id, 1, 2)
    await until(lambda: 1 in first.heard)

    feeds.join(job.id, LOCAL, second)
    house.painter.step(job.id, 2, 2)
    await until(lambda: 2 in first.heard and 2 in second.heard)

    assert second.heard == [JobState.PROCESSING, 2]
    feeds.leave(job.id, LOCAL, first)
    feeds.leave(job.id, LOCAL, second)


async def test_who_leaves_while_it_is_told_does_not_hear_it(house: House, feeds: Feeds) -> None:
    job, last = await a_pending_job(house), Ear()

    def at_news(news: News) -> None:
        if isinstance(news, JobNews) and news.job.state is JobState.PROCESSING:
            feeds.leave(job.id, LOCAL, last)

    first = Ear(at_news)
    feeds.join(job.id, LOCAL, first)
    feeds.join(job.id, LOCAL, last)
    await until(lambda: bool(first.heard and last.heard))

    await house.painter.start(job.id)
    house.painter.step(job.id, 1, 2)
    await until(lambda: 1 in first.heard)

    assert last.heard == [JobState.PENDING]
    feeds.leave(job.id, LOCAL, first)


async def test_a_fault_of_one_is_no_others_business(house: House, feeds: Feeds) -> None:
    fault = ZeroDivisionError()

    def at_news(_: News) -> None:
        raise fault

    job, faulty, other = await a_pending_job(house), Ear(at_news), Ear()
    feeds.join(job.id, LOCAL, faulty)
    feeds.join(job.id, LOCAL, other)

    with structlog.testing.capture_logs() as lines:
        await until(lambda: bool(other.heard))
        await house.painter.start(job.id)
        await house.painter.finish(job.id)
        await until(lambda: bool(other.over_with))

    assert (faulty.heard, faulty.over_with) == ([JobState.PENDING], [fault])
    assert other.heard == [JobState.PENDING, JobState.PROCESSING, JobState.COMPLETED]
    assert [line["error"] for line in lines if line["event"] == "watch_failed"] == ["ZeroDivisionError"]


async def test_when_the_last_has_left_the_watch_ends_and_begins_anew_with_the_next(
    house: House, feeds: Feeds, watched: list[str]
) -> None:
    job, first, second = await a_pending_job(house), Ear(), Ear()
    before = asyncio.all_tasks()
    feeds.join(job.id, LOCAL, first)
    (task,) = asyncio.all_tasks() - before
    await until(lambda: bool(first.heard))

    feeds.leave(job.id, LOCAL, first)
    await asyncio.wait([task])
    feeds.leave(job.id, LOCAL, first)  # twice is fine
    await house.painter.start(job.id)
    feeds.join(job.id, LOCAL, second)
    await house.painter.finish(job.id)
    await until(lambda: bool(second.over_with))

    assert (first.heard, first.over_with) == ([JobState.PENDING], [])
    assert second.heard[-1] is JobState.COMPLETED
    assert watched == [job.id, job.id]


async def test_each_hears_only_of_what_he_may_see(house: House, feeds: Feeds) -> None:
    job = await a_pending_job(house)
    owner, stranger = Ear(), Ear()
    feeds.join(job.id, OWNER, owner)
    feeds.join(job.id, Caller(owner="somebody else"), stranger)

    await until(lambda: bool(owner.heard and stranger.over_with))

    assert (owner.heard, owner.over_with) == ([JobState.PENDING], [])
    assert stranger.heard == []
    assert [type(failure) for failure in stranger.over_with] == [JobNotFound]
    feeds.leave(job.id, OWNER, owner)


async def test_an_error_that_nobody_foresaw_ends_the_feed_for_all(
    house: House, feeds: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, ears = await a_pending_job(house), [Ear(), Ear()]

    def broken(self: Studio, job_id: str, **options: Any) -> AbstractAsyncContextManager[Any]:  # noqa: ANN401 - as it has
        raise ZeroDivisionError(self, job_id, options)

    monkeypatch.setattr(Studio, "watch", broken)
    with structlog.testing.capture_logs() as lines:
        for ear in ears:
            feeds.join(job.id, LOCAL, ear)
        await until(lambda: all(ear.over_with for ear in ears))

    assert [[type(failure) for failure in ear.over_with] for ear in ears] == [[ZeroDivisionError]] * 2
    assert [line["event"] for line in lines] == ["watch_failed"]


async def test_of_a_job_that_is_removed_before_its_end_was_told_it_is_said_that_there_is_none(
    house: House, feeds: Feeds
) -> None:
    job, ear = await a_pending_job(house), Ear()
    feeds.join(job.id, LOCAL, ear)
    await until(lambda: bool(ear.heard))

    await house.store.cancel(job.id, utc_now())
    await house.services.removal.remove(job.id)
    house.events.close()  # as far as this job goes
    await until(lambda: bool(ear.over_with))

    assert ear.heard == [JobState.PENDING]
    assert [type(failure) for failure in ear.over_with] == [JobNotFound]


async def test_when_the_server_stops_it_is_over_before_the_job_is(house: House, feeds: Feeds) -> None:
    job, ear = await a_pending_job(house), Ear()
    feeds.join(job.id, LOCAL, ear)
    await until(lambda: bool(ear.heard))

    house.events.close()
    await until(lambda: bool(ear.over_with))

    assert (ear.heard, ear.over_with) == ([JobState.PENDING], [None])
