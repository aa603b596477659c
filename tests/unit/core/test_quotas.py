"""How much an owner may have in a day, and keep."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.core.errors import QuotaExceeded, StorageFailure
from danqing.core.keeping import KeptBytes
from danqing.core.quotas import DAY, KEPT_FOR, REMEMBERED_FOR, LocalDayCounts, Quota, Quotas
from danqing.core.types import Job
from tests.fakes.domain import NOW

HOUR = timedelta(hours=1)


class Kept:
    """What a store would say."""

    def __init__(self) -> None:
        self.accepted: list[tuple[str, datetime]] = []
        self.bytes: dict[str | None, int] = {}
        self.inputs: frozenset[str] = frozenset()
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.fails = False

    async def now(self) -> datetime:
        raise AssertionError

    async def accepted_since(self, moment: datetime) -> Sequence[tuple[str, datetime]]:
        return [each for each in self.accepted if each[1] > moment]

    async def artifact_bytes(self, owner: str | None) -> int:
        self.asked += 1
        await self.answers.wait()
        if self.fails:
            raise StorageFailure
        return self.bytes.get(owner, 0)

    async def input_names(self, owner: str | None) -> frozenset[str]:
        return self.inputs

    async def ended_before(self, moment: datetime, *, now: datetime, after: int, limit: int) -> Sequence[Job]:
        raise AssertionError

    async def begin_removal(self, job_ids: Collection[str]) -> None:
        raise AssertionError

    async def remove(self, job_ids: Collection[str]) -> int:
        raise AssertionError


class Day:
    """Quotas of a store, and a clock."""

    def __init__(self, root: Path, quota: Quota, *, per_owner: bool = True) -> None:
        self.now = NOW
        self.kept = Kept()
        self.artifacts = LocalArtifactStore(root)
        sizes = KeptBytes(self.kept, self.artifacts)
        self.days = LocalDayCounts(kept=self.kept, now=lambda: self.now, per_owner=per_owner)
        self.quotas = Quotas(quota, days=self.days, sizes=sizes, now=lambda: self.now)


async def test_pictures_of_a_day(tmp_path: Path) -> None:
    day = Day(tmp_path, Quota(jobs_per_day=3))
    await day.quotas.take("ann", 1)
    day.now += 2 * HOUR
    await day.quotas.take("ann", 2)
    with pytest.raises(QuotaExceeded) as caught:
        await day.quotas.take("ann", 1)
    assert caught.value.public_message == "At most 3 pictures in 24 hours."
    assert caught.value.retry_after_s == 22 * 3600
    with pytest.raises(QuotaExceeded) as caught:
        await day.quotas.take("ann", 2)
    assert caught.value.retry_after_s == 24 * 3600
    with pytest.raises(QuotaExceeded):  # more than there ever are
        await day.quotas.take("bob", 4)
    await day.quotas.take("bob", 3)

    # Then a day later there is room for what is a day old
    day.now += 22 * HOUR
    await day.quotas.take("ann", 1)
    with pytest.raises(QuotaExceeded):
        await day.quotas.take("ann", 1)


async def test_what_came_to_nothing_does_not_count(tmp_path: Path) -> None:
    day = Day(tmp_path, Quota(jobs_per_day=2))
    await day.quotas.take("ann", 2)
    await day.quotas.give_back("ann", 1)
    await day.quotas.take("ann", 1)
    with pytest.raises(QuotaExceeded):
        await day.quotas.take("ann", 1)


@pytest.mark.parametrize("per_owner", [True, False])
async def test_a_restart_forgets_nothing(tmp_path: Path, per_owner: bool) -> None:
    day = Day(tmp_path, Quota(jobs_per_day=2), per_owner=per_owner)
    day.kept.accepted = [("ann", NOW - 25 * HOUR), ("ann", NOW - 3 * HOUR), ("bob", NOW - 2 * HOUR)]
    await day.quotas.load()

    # Then one of two is left to each, or none to all together
    whom = "ann" if per_owner else None
    if per_owner:
        await day.quotas.take(whom, 1)
    with pytest.raises(QuotaExceeded):
        await day.quotas.take(whom, 1)


@pytest.mark.parametrize("restarted", [True, False])
async def test_what_came_while_the_clock_was_ahead_counts_for_a_day(tmp_path: Path, restarted: bool) -> None:
    # Given a picture of a clock that was a year ahead, and one of an hour before
    day = Day(tmp_path, Quota(jobs_per_day=2))
    if restarted:
        day.kept.accepted = [("ann", NOW + 365 * DAY), ("ann", NOW - HOUR)]
        await day.quotas.load()
    else:
        day.now -= HOUR
        await day.quotas.take("ann", 1)
        day.now += 365 * DAY
        day.days._accepted["ann"].append(day.now)
        day.now = NOW
    # Then both count
    with pytest.raises(QuotaExceeded) as caught:
        await day.quotas.take("ann", 1)
    assert caught.value.retry_after_s == 23 * 3600
    # And each for a day
    day.now += 23 * HOUR
    await day.quotas.take("ann", 1)
    with pytest.raises(QuotaExceeded):
        await day.quotas.take("ann", 1)
    day.now += HOUR
    await day.quotas.take("ann", 1)


async def test_bytes_of_a_clock_that_was_ahead_are_added_up_again(tmp_path: Path) -> None:
    day = Day(tmp_path, Quota(kept_bytes=1000))
    day.now += 365 * DAY
    await day.quotas.take("ann", 1)
    day.now, day.kept.bytes["ann"] = NOW, 1000
    with pytest.raises(QuotaExceeded):
        await day.quotas.take("ann", 1)


async def test_bytes_that_are_kept(tmp_path: Path) -> None:
    day = Day(tmp_path, Quota(kept_bytes=2_000_000_000))
    day.artifacts.write("input-a.png", bytes(1000))
    day.kept.bytes["ann"], day.kept.inputs = 1_999_998_999, frozenset({"input-a.png", "input-gone.png"})
    await day.quotas.take("ann", 5)

    # When there is one byte more, it is seen as soon as it is looked at again
    day.kept.bytes["ann"] += 1
    await day.quotas.take("ann", 5)
    assert day.kept.asked == 1
    day.now += KEPT_FOR
    with pytest.raises(QuotaExceeded, match=r"all the room that you may have: 2 GB"):
        await day.quotas.take("ann", 1)
    await day.quotas.take("bob", 1)


async def test_who_is_far_from_full_waits_once_until_it_is_added_up(tmp_path: Path) -> None:
    day = Day(tmp_path, Quota(kept_bytes=1000))
    day.kept.bytes["ann"] = 800
    await day.quotas.take("ann", 1)
    # Given a store that takes its time, and an older figure
    day.kept.answers.clear()
    day.kept.bytes["ann"] = 1000
    day.now += KEPT_FOR
    # When he submits several times, then he does not wait, and it is added up once
    for _ in range(3):
        async with asyncio.timeout(0):
            await day.quotas.take("ann", 1)
    await asyncio.sleep(0)
    assert day.kept.asked == 2
    # And once it is, it counts
    day.kept.answers.set()
    await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name() == "quota"])
    with pytest.raises(QuotaExceeded):
        await day.quotas.take("ann", 1)
    assert day.kept.asked == 2


async def test_a_store_that_fails_meanwhile_is_asked_again(tmp_path: Path) -> None:
    day = Day(tmp_path, Quota(kept_bytes=1000))
    await day.quotas.take("ann", 1)
    day.now += KEPT_FOR
    day.kept.fails = True
    for _ in range(2):
        await day.quotas.take("ann", 1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert day.kept.asked == 3
    # And an old figure is worth nothing
    day.now += REMEMBERED_FOR
    with pytest.raises(StorageFailure):
        await day.quotas.take("ann", 1)


async def test_without_limits_nobody_is_asked(tmp_path: Path) -> None:
    day = Day(tmp_path, Quota())
    await day.quotas.load()
    await day.quotas.take("ann", 10**6)
    assert day.kept.asked == 0


class Counted(LocalArtifactStore):
    """Counts how often it is asked."""

    asked = 0

    def size(self, name: str) -> int:
        self.asked += 1
        return super().size(name)

    def inputs(self) -> Mapping[str, int]:
        self.asked += 1
        return super().inputs()


@pytest.mark.parametrize("pictures", [3, 300])
async def test_the_sizes_of_sent_pictures_are_asked_for_once_and_of_many_at_once(tmp_path: Path, pictures: int) -> None:
    # Given pictures that were sent, few or many, one that is gone, and one that is of nobody here
    kept, artifacts = Kept(), Counted(tmp_path)
    kept.inputs = frozenset(f"input-{number:064x}.png" for number in range(pictures + 1))
    for name in (*sorted(kept.inputs)[:pictures], f"input-{'f' * 64}.png"):
        artifacts.write(name, b"picture")
    sizes = KeptBytes(kept, artifacts)
    # When they are added up
    assert await sizes.of(None) == 7 * pictures
    asked = artifacts.asked
    assert asked == (pictures + 1 if pictures < 100 else 1)
    # Then a second time only for the one that is gone
    assert await sizes.of(None) == 7 * pictures
    assert artifacts.asked == asked + 1
