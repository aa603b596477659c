"""At start-up: what the store says of pictures, and what pictures there are, brought together, both ways."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from danqing.core.errors import StorageFailure
from danqing.core.keeping import KeptJobs
from danqing.core.ports import ArtifactStore, JobStore


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """swept: files removed that no job has. missing: artifacts that jobs have, and whose picture is not there."""

    swept: int
    missing: int


async def reconcile(store: JobStore, artifacts: ArtifactStore, kept: KeptJobs) -> Reconciled:
    """Before any worker runs, and any submit is taken. A picture of a job that the store does not know is another
    server's, and stays; and where there is one, any input image may be that server's too, and all of them stay.

    Raises StorageFailure.
    """
    there = await asyncio.to_thread(artifacts.pictures)
    known = await store.artifact_names(there.keys())
    swept = await asyncio.to_thread(artifacts.sweep, known)
    if not there.keys() - known.keys():
        swept += await _sweep_inputs(artifacts, kept)
    missing = await store.note_missing({name for names in there.values() for name in names})
    return Reconciled(swept=swept, missing=len(missing))


async def _sweep_inputs(artifacts: ArtifactStore, kept: KeptJobs) -> int:
    """What a server that died left: the picture was there before its job was, or still was when its job was gone."""
    old = await asyncio.to_thread(artifacts.old_inputs)
    if not old:
        return 0
    return await asyncio.to_thread(_remove, artifacts, old - await kept.input_names(None))


def _remove(artifacts: ArtifactStore, names: Collection[str]) -> int:
    removed = 0
    for name in names:
        with suppress(StorageFailure):  # it is logged, and tried again at the next start
            artifacts.remove(name)
            removed += 1
    return removed
