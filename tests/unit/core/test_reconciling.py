"""Rows and files after a crash, over the real store and a real directory."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from danqing.blobs.local import LEFT_OVER_AFTER_S, LocalArtifactStore
from danqing.core import reconciling
from danqing.core.errors import StorageFailure
from danqing.core.images import ImageRef
from danqing.core.listing import NAMES_AT_ONCE, PicturePage
from danqing.core.reconciling import SHARED_AFTER_S, keep_reconciled, reconcile
from danqing.core.types import Mode
from danqing.store.sqlite import SqliteStores
from tests.fakes.domain import LOST, NO_LIMIT, a_job, a_request, an_enlarged, an_original, later
from tests.fakes.pictures import pictures_in


async def test_rows_and_files_agree_afterwards(tmp_path: Path) -> None:
    # Given a job with its picture, one that lost it, one that failed after a second picture was written, and one that
    # wrote a picture and half of another before it was recorded at all
    stores = SqliteStores.open(tmp_path / "jobs.db")
    store, artifacts = stores.jobs, LocalArtifactStore(tmp_path / "outputs")
    whole, bare, failed, crashed = [await store.add(a_job(fingerprint=str(n)), NO_LIMIT) for n in range(4)]
    for job in (whole, bare, failed):
        await store.claim(job.id, "w1", later())
    for job in (whole, bare):
        await store.complete(job.id, 1, [an_original(job)], [], later())
    await store.generate(failed.id, 1, [an_original(failed)], [])
    await store.fail(failed.id, 1, LOST, later())
    for job in (whole, failed, crashed):
        artifacts.write(an_original(job).name, b"picture")
    artifacts.write(an_enlarged(failed).name, b"picture")
    half = tmp_path / "outputs" / f".danqing-{an_enlarged(crashed).name}-{'0' * 32}.tmp"
    half.write_bytes(b"half a pict")
    # When both are brought together
    done = await reconcile(store, artifacts, stores.kept)
    # Then what no job has is gone, and what is missing is known
    assert (done.swept, done.missing) == (3, 1)
    assert pictures_in(artifacts) == {whole.id: {an_original(whole).name}, failed.id: {an_original(failed).name}}
    assert not half.exists()
    assert await store.find_equal(bare.owner, "1") is None
    found = await store.find_equal(whole.owner, "0")
    assert found is not None
    # And a second time there is nothing to do, until the picture is back
    assert (await reconcile(store, artifacts, stores.kept)).swept == 0
    artifacts.write(an_original(bare).name, b"picture")
    assert (await reconcile(store, artifacts, stores.kept)).missing == 0
    assert await store.find_equal(bare.owner, "1") is not None
    await stores.close()


async def test_a_place_that_is_away_costs_no_row(tmp_path: Path) -> None:
    # Given a job whose pictures lie on a disk that is not there just now
    stores = SqliteStores.open(tmp_path / "jobs.db")
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    await stores.jobs.claim(job.id, "w1", later())
    await stores.jobs.complete(job.id, 1, [an_original(job)], [], later())
    # When a server starts
    done = await reconcile(stores.jobs, LocalArtifactStore(tmp_path / "not mounted"), stores.kept)
    # Then the job keeps what it has
    assert done.missing == 1
    assert (await stores.jobs.get(job.id)).artifacts == (an_original(job),)
    await stores.close()


async def test_an_input_picture_that_no_job_has_goes_when_it_is_old(tmp_path: Path) -> None:
    # Given old pictures that were sent, of which a job starts from one; a young one; and other files
    stores = SqliteStores.open(tmp_path / "jobs.db")
    outputs = tmp_path / "outputs"
    artifacts = LocalArtifactStore(outputs)
    used, lost, young = (f"input-{digit * 64}.png" for digit in "abc")
    image = ImageRef(name=used, width=8, height=8)
    await stores.jobs.add(a_job(request=a_request(mode=Mode.IMG2IMG, input_images=(image,))), NO_LIMIT)
    foreign = ("input-1.png", f"input-{'d' * 64}.jpg", f"my-{lost}")
    old = time.time() - LEFT_OVER_AFTER_S - 60
    for name in (used, lost, young, *foreign):
        artifacts.write(name, b"picture")
        if name != young:
            os.utime(outputs / name, (old, old))
    # While there is a picture of a job of another server, then it may be that server's
    theirs = an_original(a_job()).name
    artifacts.write(theirs, b"picture")
    assert (await reconcile(stores.jobs, artifacts, stores.kept)).swept == 0
    # Otherwise it goes, and nothing else
    artifacts.remove(theirs)
    assert (await reconcile(stores.jobs, artifacts, stores.kept)).swept == 1
    assert {path.name for path in outputs.iterdir()} == {used, young, *foreign}
    await stores.close()


async def test_while_others_work_only_what_is_old_and_of_nobody_goes(tmp_path: Path) -> None:
    # Given jobs over a store that several processes share, each with a picture that is not recorded, written long ago:
    # one that is being made (its picture may be about to be recorded), one that has failed, and one that has failed now
    stores = SqliteStores.open(tmp_path / "jobs.db")
    outputs = tmp_path / "outputs"
    store, artifacts = stores.jobs, LocalArtifactStore(outputs)
    running, failed, just_failed = [await store.add(a_job(fingerprint=str(n)), NO_LIMIT) for n in range(3)]
    for job in (running, failed, just_failed):
        await store.claim(job.id, "w1", later())
        artifacts.write(an_original(job).name, b"picture")
    for job in (failed, just_failed):
        await store.fail(job.id, 1, LOST, later())
    old = time.time() - SHARED_AFTER_S - 60
    for job in (running, failed):
        os.utime(outputs / an_original(job).name, (old, old))
    # When both are brought together
    done = await reconcile(store, artifacts, stores.kept, shared=True)
    # Then only that of the second is gone
    assert (done.swept, done.missing) == (1, 0)
    assert pictures_in(artifacts).keys() == {running.id, just_failed.id}
    # And the first one's can be recorded
    assert await store.complete(running.id, 1, [an_original(running)], [], later()) is not None
    await stores.close()


class Meanwhile(LocalArtifactStore):
    """Something happens when it has been listed."""

    def __init__(self, root: Path, then: Callable[[], None]) -> None:
        super().__init__(root)
        self._then = then

    def picture_pages(self, *, names_at_once: int = NAMES_AT_ONCE) -> Iterator[PicturePage]:
        pages = list(super().picture_pages(names_at_once=names_at_once))
        self._then()
        yield from pages


async def test_a_job_that_ends_while_pictures_are_listed_lacks_none(tmp_path: Path) -> None:
    # Given two jobs that other processes complete when the pictures have been listed, one of them without its picture
    stores = SqliteStores.open(tmp_path / "jobs.db")
    store = stores.jobs
    whole, bare = [await store.add(a_job(fingerprint=str(n)), NO_LIMIT) for n in range(2)]
    loop = asyncio.get_running_loop()

    async def complete() -> None:
        for job in (whole, bare):
            await store.claim(job.id, "w1", later())
            await store.complete(job.id, 1, [an_original(job)], [], later())

    def meanwhile() -> None:
        LocalArtifactStore(tmp_path / "outputs").write(an_original(whole).name, b"picture")
        asyncio.run_coroutine_threadsafe(complete(), loop).result(20)

    artifacts = Meanwhile(tmp_path / "outputs", meanwhile)
    # When both are brought together
    done = await reconcile(store, artifacts, stores.kept, shared=True)
    # Then the picture that came meanwhile is none that is missing, and the other one is
    assert (done.swept, done.missing) == (0, 1)
    assert await store.find_equal(whole.owner, "0") is not None
    assert await store.find_equal(bare.owner, "1") is None
    await stores.close()


@pytest.mark.parametrize("shared", [False, True])
async def test_however_many_pictures_there_are_few_are_looked_at_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    # Given twenty jobs that have ended: each fourth one lost its picture, and each fifth one has one more than it knows
    monkeypatch.setattr(reconciling, "NAMES_AT_ONCE", 3)
    monkeypatch.setattr(reconciling, "SWEPT_AT_ONCE", 2)
    stores = SqliteStores.open(tmp_path / "jobs.db")
    artifacts = LocalArtifactStore(tmp_path / "outputs")
    jobs = [await stores.jobs.add(a_job(fingerprint=str(n)), NO_LIMIT) for n in range(20)]
    old = time.time() - SHARED_AFTER_S - 60
    for number, job in enumerate(jobs):
        await stores.jobs.claim(job.id, "w1", later())
        await stores.jobs.complete(job.id, 1, [an_original(job)], [], later())
        written = [an_original(job).name] if number % 4 else []
        for name in [*written, *([an_enlarged(job).name] if number % 5 == 0 else [])]:
            artifacts.write(name, b"picture")
            os.utime(tmp_path / "outputs" / name, (old, old))
    asked: list[int] = []
    for name in ("artifact_names", "noted_missing", "note_missing"):
        call = getattr(stores.jobs, name)

        async def counted(*args: Any, _call: Any = call, **named: Any) -> Any:  # noqa: ANN401 - of several methods
            answer = await _call(*args, **named)
            asked.append(max(len(args[0]) if args else 0, len(answer or ())))
            return answer

        monkeypatch.setattr(stores.jobs, name, counted)
    # When both are brought together
    done = await reconcile(stores.jobs, artifacts, stores.kept, shared=shared)
    # Then all is known and gone, and no call was about more than a page: three names, and the rest of the last job's
    assert (done.swept, done.missing) == (4, 5)
    assert max(asked) <= 4
    found = [await stores.jobs.find_equal(job.owner, str(number)) for number, job in enumerate(jobs)]
    assert [job is None for job in found] == [number % 4 == 0 for number in range(20)]
    await stores.close()


async def test_the_first_time_is_not_at_once(tmp_path: Path) -> None:
    # Given a process that has just started, as all others may have
    stores = SqliteStores.open(tmp_path / "jobs.db")
    asked = asyncio.Event()

    @asynccontextmanager
    async def exclusive(name: str) -> AsyncGenerator[bool]:
        asked.set()
        yield True

    def keep(first_after_s: float) -> asyncio.Task[None]:
        artifacts = LocalArtifactStore(tmp_path / "outputs")
        keeping = keep_reconciled(stores.jobs, artifacts, stores.kept, exclusive=exclusive, first_after_s=first_after_s)
        return asyncio.create_task(keeping)

    # Then it waits as long as it is told
    tasks = [keep(3600.0)]
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert not asked.is_set()
    tasks.append(keep(0.0))
    await asyncio.wait_for(asked.wait(), 20)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await stores.close()


async def until(it_is_so: Callable[[], bool]) -> None:
    for _ in range(20_000):
        if it_is_so():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it never was")


async def test_one_of_several_processes_does_it(tmp_path: Path) -> None:
    # Given two processes, of which one holds what only one can have
    stores = SqliteStores.open(tmp_path / "jobs.db")
    listed = [0, 0]
    held = asyncio.Lock()
    asked = 0

    def count(process: int) -> Callable[[], None]:
        def listing() -> None:
            listed[process] += 1

        return listing

    @asynccontextmanager
    async def exclusive(name: str) -> AsyncGenerator[bool]:
        nonlocal asked
        asked += 1
        if held.locked():
            yield False
            return
        async with held:
            yield True

    tasks = [
        asyncio.create_task(
            keep_reconciled(
                stores.jobs,
                Meanwhile(tmp_path / "outputs", count(process)),
                stores.kept,
                exclusive=exclusive,
                every_s=0.001,
                retry_s=0.001,
            )
        )
        for process in (0, 1)
    ]
    # When both run for a while, then only one of them has done it, again and again
    await until(lambda: listed[0] >= 3 and asked >= 4)
    assert listed[1] == 0
    # And when that one has ended, the other one goes on
    tasks[0].cancel()
    await until(lambda: listed[1] >= 2)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await stores.close()


async def test_a_place_that_fails_is_tried_again(tmp_path: Path) -> None:
    # Given an object store that is away the first time
    stores = SqliteStores.open(tmp_path / "jobs.db")
    tries = 0

    def fail_once() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StorageFailure

    @asynccontextmanager
    async def exclusive(name: str) -> AsyncGenerator[bool]:
        yield True

    artifacts = Meanwhile(tmp_path / "outputs", fail_once)
    task = asyncio.create_task(
        keep_reconciled(stores.jobs, artifacts, stores.kept, exclusive=exclusive, every_s=60, retry_s=0.001)
    )
    # Then it is looked at again
    await until(lambda: tries >= 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await stores.close()
