"""The use cases of history: whose batches a caller is shown, and may take out of it."""

import pytest

from danqing.core.callers import LOCAL, Caller
from danqing.core.errors import AmbiguousBatch, BatchNotFound
from danqing.core.gallery import Gallery
from tests.fakes.domain import NO_LIMIT, a_job
from tests.fakes.job_store import InMemoryBatchStore, InMemoryJobStore

A, B = Caller(owner="a"), Caller(owner="b")
ADMIN = Caller(owner="root", sees_all=True)
NAMED = Caller(owner="a", sees_all=True, own_history=True)  # a key where none is needed


@pytest.fixture
async def gallery() -> Gallery:
    """a and b have a batch "same" each, b also "other"."""
    jobs = InMemoryJobStore()
    for owner, batch_id in (("a", "same"), ("b", "same"), ("b", "other")):
        await jobs.add(a_job(owner=owner, batch_id=batch_id), NO_LIMIT)
    return Gallery(InMemoryBatchStore(jobs))


async def shown(gallery: Gallery, caller: Caller) -> list[tuple[str, str]]:
    return [(batch.owner, batch.id) for batch in await gallery.newest(limit=9, caller=caller)]


async def test_everybody_is_shown_his_own_and_an_administrator_all(gallery: Gallery) -> None:
    assert await shown(gallery, A) == [("a", "same")]
    assert await shown(gallery, NAMED) == [("a", "same")]
    for caller in (ADMIN, LOCAL):
        assert await shown(gallery, caller) == [("b", "other"), ("b", "same"), ("a", "same")]


async def test_nobody_reaches_the_batch_of_another_owner(gallery: Gallery) -> None:
    for owner in (None, "b"):
        with pytest.raises(BatchNotFound):
            await gallery.get("other", caller=A, owner=owner)
        with pytest.raises(BatchNotFound):
            await gallery.forget("other", caller=A, owner=owner)
    assert (await gallery.get("same", caller=A, owner="a")).owner == "a"


async def test_an_administrator_can_say_whose(gallery: Gallery) -> None:
    assert (await gallery.get("same", caller=ADMIN)).owner == "b"  # the newest
    assert (await gallery.get("same", caller=ADMIN, owner="a")).owner == "a"
    with pytest.raises(AmbiguousBatch):
        await gallery.forget("same", caller=ADMIN)
    await gallery.forget("same", caller=ADMIN, owner="b")
    assert await shown(gallery, ADMIN) == [("b", "other"), ("a", "same")]
    await gallery.forget("same", caller=ADMIN)
    assert await shown(gallery, ADMIN) == [("b", "other")]
