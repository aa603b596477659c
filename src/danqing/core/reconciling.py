"""What the store says of pictures, and what pictures there are, brought together, both ways."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

import structlog

from danqing.core.background import outliving
from danqing.core.errors import ArtifactNotFound, DanqingError, JobNotFound, StorageFailure
from danqing.core.exclusive import Exclusive
from danqing.core.keeping import KeptJobs
from danqing.core.listing import NAMES_AT_ONCE, PicturePage
from danqing.core.picture_ports import ArtifactStore
from danqing.core.ports import JobStore

log = structlog.get_logger(__name__)

RECONCILE_EVERY_S = 6 * 3600.0  # it reads the names of all pictures
RETRY_S = 60.0
FIRST_WITHIN_S = 300.0  # of the start of a process that shares the store: not all at once, nor all that crash in a row
SWEPT_AT_ONCE = 10_000  # jobs
# With several processes: how old a picture must be that no job has. Far longer than from a picture to its row.
SHARED_AFTER_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """swept: files removed that no job has. missing: artifacts that jobs have, and whose picture is not there."""

    swept: int
    missing: int


async def reconcile(store: JobStore, artifacts: ArtifactStore, kept: KeptJobs, *, shared: bool = False) -> Reconciled:
    """A picture of a job that the store does not know is another server's, and stays; and where there is one, any input
    image may be that server's too, and all of them stay.

    Without shared: at start-up, before any worker runs and any submit is taken. shared: at any time, while other
    processes make pictures and take submits. Then the pictures of jobs that have not ended stay, for somebody may be
    about to record them, and so does whatever is younger than SHARED_AFTER_S. One process at a time.

    Memory: what some thousand pictures take, however many there are; but for the names of pictures that were sent.
    Raises StorageFailure.
    """
    pages = artifacts.picture_pages(names_at_once=NAMES_AT_ONCE)
    are_others, swept, missing = False, 0, 0
    left_over: dict[str, frozenset[str]] = {}
    while (page := await asyncio.to_thread(next, pages, None)) is not None:
        known = await store.artifact_names(page.pictures.keys())
        are_others |= bool(page.pictures.keys() - known.keys())
        with_more = [job_id for job_id, names in known.items() if page.pictures[job_id] - names]
        if shared:
            left_over |= await _ended(store, with_more)
        else:
            left_over |= {job_id: known[job_id] for job_id in {*with_more, *(page.half_written & known.keys())}}
        if len(left_over) >= SWEPT_AT_ONCE:
            swept += await _sweep(artifacts, left_over, shared=shared)
            left_over = {}
        missing += await _note_missing(store, artifacts, page, shared=shared)
    swept += await _sweep(artifacts, left_over, shared=shared)  # also if there are none: staged files, say
    if not are_others:
        swept += await _sweep_inputs(artifacts, kept)
    return Reconciled(swept=swept, missing=missing)


async def keep_reconciled(
    store: JobStore,
    artifacts: ArtifactStore,
    kept: KeptJobs,
    *,
    exclusive: Exclusive,
    first_after_s: float = 0.0,
    every_s: float = RECONCILE_EVERY_S,
    retry_s: float = RETRY_S,
) -> NoReturn:
    """For every process that shares the store: one of them does it, now and then, and another one when that has ended.

    exclusive: True inside for one process at a time, by a name. first_after_s: waited before the first time.
    Until it is cancelled.
    """
    await asyncio.sleep(first_after_s)
    while True:
        with outliving("pictures_not_reconciled"):
            try:
                async with exclusive("reconciling") as is_ours:
                    while is_ours:
                        done = await reconcile(store, artifacts, kept, shared=True)
                        log.info("pictures_reconciled", swept_files=done.swept, missing=done.missing)
                        await asyncio.sleep(every_s)
            except DanqingError as exc:
                log.error("pictures_not_reconciled", code=exc.code)
        await asyncio.sleep(retry_s)


async def _sweep(artifacts: ArtifactStore, left_over: Mapping[str, frozenset[str]], *, shared: bool) -> int:
    return await asyncio.to_thread(artifacts.sweep, left_over, older_than_s=SHARED_AFTER_S if shared else 0.0)


async def _note_missing(store: JobStore, artifacts: ArtifactStore, page: PicturePage, *, shared: bool) -> int:
    """How many artifacts of this part of all names have no picture."""
    present = {name for names in page.pictures.values() for name in names}
    count, after = 0, page.after
    while noted := await store.noted_missing(after=after, before=page.before, limit=NAMES_AT_ONCE):
        after = max(noted)
        missing = noted.keys() - present
        if shared and missing:
            missing -= await asyncio.to_thread(_present, artifacts, missing)  # made since they were listed
        changed = {name: name in missing for name, was_missing in noted.items() if was_missing != (name in missing)}
        if changed:
            await store.note_missing(changed)
        count += len(missing)
    return count


async def _ended(store: JobStore, job_ids: Collection[str]) -> dict[str, frozenset[str]]:
    """Those that have ended, and the names of what they have: nothing is added to that any more."""
    ended: dict[str, frozenset[str]] = {}
    for job_id in job_ids:
        with suppress(JobNotFound):
            job = await store.get(job_id)
            if job.state.is_final:
                ended[job_id] = frozenset(artifact.name for artifact in job.artifacts)
    return ended


def _present(artifacts: ArtifactStore, names: Collection[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        with suppress(ArtifactNotFound):
            if artifacts.size(name) > 0:
                found.add(name)
    return found


async def _sweep_inputs(artifacts: ArtifactStore, kept: KeptJobs) -> int:
    """What a server that died left: the picture was there before its job was, or still was when its job was gone."""
    old = await asyncio.to_thread(artifacts.old_inputs)
    if not old:
        return 0
    return await asyncio.to_thread(_remove, artifacts, old - await kept.input_names(None))


def _remove(artifacts: ArtifactStore, names: Collection[str]) -> int:
    """Those that are still old: a submit that wants one makes it new again (`InputImages`)."""
    removed = 0
    for name in names:
        with suppress(StorageFailure, ArtifactNotFound):  # it is logged, and tried again the next time
            if artifacts.age_s(name) >= SHARED_AFTER_S:
                artifacts.remove(name)
                removed += 1
    return removed
