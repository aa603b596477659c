"""Removes jobs that somebody wants no more, with their pictures."""

import asyncio

from danqing.core.callers import LOCAL, Caller
from danqing.core.errors import Conflict, StorageFailure
from danqing.core.keeping import KeptJobs
from danqing.core.picture_names import names_to_remove
from danqing.core.picture_ports import ArtifactStore
from danqing.core.studio import Studio
from danqing.core.taking_over import InputImages

UNDER_WAY = "The job is under way; cancel it first."


class Removal:
    """A job's files go before its row, so that what a crash leaves can be removed again; those that a lost attempt left
    go too, for without the row nobody could tell whose they are. For one event loop.
    """

    def __init__(self, *, studio: Studio, kept: KeptJobs, artifacts: ArtifactStore, inputs: InputImages) -> None:
        """inputs: shared with the Studio, which must not take over what is just being removed."""
        self._studio = studio
        self._kept = kept
        self._artifacts = artifacts
        self._inputs = inputs

    async def remove(self, job_id: str, *, caller: Caller = LOCAL) -> None:
        """Final: the job, its pictures and those that no other job starts from. Durable on return.

        Raises JobNotFound, Conflict for a job that has not ended, or StorageFailure.
        """
        job = await self._studio.get(job_id, caller=caller)
        if not job.state.is_final:
            raise Conflict(UNDER_WAY)
        await self._kept.begin_removal([job.id])
        if await asyncio.to_thread(self._artifacts.remove_all, names_to_remove(job)):
            raise StorageFailure
        await self._kept.remove([job.id])
        sent = {image.name for image in job.request.inputs}
        if sent:
            await self._inputs.remove_unused(sent, self._in_use)

    async def _in_use(self) -> frozenset[str]:
        return await self._kept.input_names(None)
