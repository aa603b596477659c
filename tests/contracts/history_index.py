"""What the index of the history must not change: what is found, and where it is. A test module has the fixtures
`stores`, and `skip_to`, after which the next job has a certain sequence.
"""

import random
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Protocol

import pytest
from sqlalchemy import select

from danqing.core.batches import ANY_BATCH, Batch, BatchFilter
from danqing.core.keeping import KeptJobs
from danqing.core.ports import BatchStore, JobStore
from danqing.core.types import Mode
from danqing.store import batch_rows, history_parts
from danqing.store.database import Database
from danqing.store.history_index import HistoryIndex
from danqing.store.history_parts import LEAF, SIZES, Part
from danqing.store.schema import history_terms
from danqing.store.settled import SettledAlone
from tests.fakes.domain import NO_LIMIT, a_job, a_request, later

SkipTo = Callable[[int], Awaitable[None]]
PROMPTS = (
    "a Red cat, 100% fluffy",
    "一只猫坐在窗台上",
    "un Éclair",
    "猫",
    "a\ue000b, a_b, a/b\\c",
    "dog dog DOG",
    "🍕 with 蘑菇",
)
WORDS = (
    "cat",
    "RED",
    "DOG d",
    "zzz",
    "x",
    " ",
    "é",
    "É",
    "猫",
    "一只",
    "窗台上",
    "🍕",
    "蘑",
    "\ue000",
    "0%",
    "_",
    "\\c",
    "/",
)
OWNERS = ("x", "y")
KEYS = select(history_terms.c.key)


class Stores(Protocol):
    """Over one database."""

    @property
    def database(self) -> Database: ...
    @property
    def jobs(self) -> JobStore: ...
    @property
    def batches(self) -> BatchStore: ...
    @property
    def kept(self) -> KeptJobs: ...


async def index(stores: Stores) -> None:
    """All there is, as if somebody had waited long enough."""
    await HistoryIndex(stores.database, settled=SettledAlone(stores.database), rest=0.0).catch_up()


async def parts(stores: Stores) -> list[Part]:
    return await stores.database.read(history_parts.whole)


async def make_history(stores: Stores, skip_to: SkipTo, *, stretches: int) -> None:
    """Jobs in bursts all over so many leaves; some join batches that were begun long before."""
    draw = random.Random(7)
    for number in range(stretches):
        await skip_to(1 + number * LEAF + draw.randrange(LEAF - 8))
        for _ in range(draw.randrange(8)):
            request = a_request(
                prompt=draw.choice(PROMPTS),
                model=draw.choice(("tiny", "tiny", "other")),
                mode=draw.choice((Mode.TEXT2IMG, Mode.TEXT2IMG, Mode.EDIT)),
            )
            job = a_job(owner=draw.choice(OWNERS), request=request)
            if draw.random() < 0.3:
                job = a_job(owner=job.owner, request=request, batch_id=f"batch-{draw.randrange(5)}")
            await stores.jobs.add(job, NO_LIMIT)
            if draw.random() < 0.3:
                await stores.jobs.cancel(job.id, later())


async def check_searches(stores: Stores) -> None:
    """Whatever is looked for: what a look at each batch finds is found, in the same order, page by page."""
    draw = random.Random(3)
    for owner in (None, *OWNERS, "nobody"):
        every = list(await stores.batches.batches(owner, limit=10_000, offset=0))
        for wanted in (
            *(BatchFilter(words=(word,)) for word in WORDS),
            *(BatchFilter(words=tuple(draw.sample(WORDS, 2)), promising=True) for _ in range(9)),
            BatchFilter(model="other"),
            BatchFilter(model="none", words=("cat",)),
            BatchFilter(mode=Mode.EDIT, model="tiny"),
            BatchFilter(promising=True),
        ):
            meant = [batch for batch in every if wanted.fits(batch)]
            limit, offset = draw.choice(((1000, 0), (3, 0), (2, 3), (1, len(meant))))
            page = await stores.batches.batches(owner, limit=limit, offset=offset, wanted=wanted)
            assert list(page) == meant[offset : offset + limit], (owner, wanted)


async def pages(stores: Stores, owner: str | None, size: int) -> list[Batch]:
    """All pages of a history."""
    found, offset = list[Batch](), 0
    while page := await stores.batches.batches(owner, limit=size, offset=offset, wanted=ANY_BATCH):
        found += page
        offset += size
    return found


class HistoryIndexContract:
    """The suite."""

    async def test_searches_find_the_same_with_an_index(self, stores: Stores, skip_to: SkipTo) -> None:
        # Given a history of parts of each size but the largest, and of jobs that are in none yet
        await make_history(stores, skip_to, stretches=20)
        await check_searches(stores)
        await index(stores)
        await make_history(stores, lambda sequence: skip_to(20 * LEAF + sequence), stretches=1)
        there = await parts(stores)
        assert {part.size for part in there} == set(SIZES[:2])
        # Then searches find what they found before
        await check_searches(stores)

    async def test_every_job_is_in_one_part(self, stores: Stores, skip_to: SkipTo) -> None:
        await make_history(stores, skip_to, stretches=20)
        await index(stores)
        there = await parts(stores)
        assert all(newer.first == older.end for newer, older in pairwise(there))
        assert there[-1].first == 0
        # And to do it again changes nothing
        await index(stores)
        assert await parts(stores) == there

    async def test_searches_forget_what_is_forgotten(self, stores: Stores, skip_to: SkipTo) -> None:
        # Given an index, and a batch of each kind forgotten, and one removed, and one that was begun again
        await make_history(stores, skip_to, stretches=6)
        await index(stores)
        every = await stores.batches.batches(None, limit=1000, offset=0)
        for batch in every[2:9]:
            await stores.batches.forget(batch.id, batch.owner)
        gone = every[-1]
        for job in gone.jobs:
            await stores.jobs.cancel(job.id, later())
        await stores.kept.remove([job.id for job in gone.jobs])
        await stores.jobs.add(a_job(batch_id=every[3].id, owner=every[3].owner), NO_LIMIT)
        # Then none is found that is not there
        await check_searches(stores)

    async def test_parts_go_when_all_their_jobs_are_gone(self, stores: Stores, skip_to: SkipTo) -> None:
        # Given an index of two parts
        first = await stores.jobs.add(a_job(), NO_LIMIT)
        await skip_to(LEAF + 5)
        await stores.jobs.add(a_job(), NO_LIMIT)
        await skip_to(2 * LEAF + 5)
        await stores.jobs.add(a_job(), NO_LIMIT)
        await index(stores)
        assert [part.first for part in await parts(stores)] == [LEAF, 0]
        # When the only job of one is removed
        await stores.jobs.cancel(first.id, later())
        await stores.kept.remove([first.id])
        await index(stores)
        # Then it goes, with all that it was made of
        (left,) = await parts(stores)
        assert left.first == LEAF
        keys = await stores.database.read(lambda connection: list(connection.execute(KEYS).scalars()))
        assert {key // history_parts.KEYS_OF_PART for key in keys} == {left.id}

    async def test_what_a_crash_left_half_done_is_done_anew(self, stores: Stores, skip_to: SkipTo) -> None:
        # Given a part that somebody has begun
        await make_history(stores, skip_to, stretches=3)
        half = await stores.database.write(lambda connection: history_parts.begin(connection, 0, LEAF), durable=True)
        await stores.database.write(
            lambda connection: history_parts.add(connection, half, {1: history_parts.packed(bytes(LEAF // 8))}),
            durable=True,
        )
        assert await parts(stores) == []
        # When the history is indexed, then that one is gone, and a new one there
        await index(stores)
        assert half not in {part.id for part in await parts(stores)}
        await check_searches(stores)

    async def test_pages_are_the_same_by_the_counts(
        self, stores: Stores, skip_to: SkipTo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given the pages of histories that are not counted
        await make_history(stores, skip_to, stretches=12)
        owners = (None, *OWNERS, "nobody")
        before = {owner: await pages(stores, owner, 3) for owner in owners}
        # When they are counted, and every page is looked for by the counts
        await index(stores)
        monkeypatch.setattr(batch_rows, "FAR", -1)
        # Then they are the same
        assert {owner: await pages(stores, owner, 3) for owner in owners} == before
        assert len(before[None]) > 30
        # And so they are when batches have gone: forgotten, or with their jobs
        for batch in before[None][4:30:5]:
            await stores.batches.forget(batch.id, batch.owner)
        gone = before[None][11]
        for job in gone.jobs:
            await stores.jobs.cancel(job.id, later())
        await stores.kept.remove([job.id for job in gone.jobs])
        by_counts = {owner: await pages(stores, owner, 3) for owner in owners}
        monkeypatch.setattr(batch_rows, "FAR", NO_LIMIT)
        assert by_counts == {owner: await pages(stores, owner, 3) for owner in owners}
        assert len(by_counts[None]) == len(before[None]) - 7
