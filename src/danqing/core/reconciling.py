"""At start-up: what the store says of pictures, and what pictures there are, brought together, both ways."""

import asyncio
from dataclasses import dataclass

from danqing.core.ports import ArtifactStore, JobStore


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """swept: files removed that no job has. missing: artifacts that jobs have, and whose picture is not there."""

    swept: int
    missing: int


async def reconcile(store: JobStore, artifacts: ArtifactStore) -> Reconciled:
    """Before any worker runs. A picture of a job that the store does not know is another server's, and stays.

    Raises StorageFailure.
    """
    there = await asyncio.to_thread(artifacts.pictures)
    known = await store.artifact_names(there.keys())
    swept = await asyncio.to_thread(artifacts.sweep, known)
    missing = await store.note_missing({name for names in there.values() for name in names})
    return Reconciled(swept=swept, missing=len(missing))
