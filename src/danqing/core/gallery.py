"""The use cases of history: the batches that a caller may see."""

from collections.abc import Sequence

from danqing.core.batches import Batch
from danqing.core.callers import LOCAL, Caller
from danqing.core.ports import BatchStore


class Gallery:
    """What was made. Safe to use from one event loop only."""

    def __init__(self, batches: BatchStore) -> None:
        self._batches = batches

    async def newest(self, *, limit: int, offset: int = 0, caller: Caller = LOCAL) -> Sequence[Batch]:
        """Newest first. Raises StorageFailure."""
        return await self._batches.batches(caller.scope, limit=limit, offset=offset)

    async def get(self, batch_id: str, *, caller: Caller = LOCAL) -> Batch:
        """Raises BatchNotFound, also for a batch that the caller may not see."""
        return await self._batches.batch(batch_id, caller.scope)

    async def forget(self, batch_id: str, *, caller: Caller = LOCAL) -> None:
        """Takes the batch out of the history; its pictures stay, and what is being made goes on.

        Raises BatchNotFound, also for a batch that the caller may not see.
        """
        await self._batches.forget(batch_id, caller.scope)
