"""The use cases of history: the batches that a caller may see."""

from collections.abc import Sequence

from danqing.core.batches import ANY_BATCH, Batch, BatchFilter
from danqing.core.callers import LOCAL, Caller
from danqing.core.errors import AmbiguousBatch, BatchNotFound
from danqing.core.ports import BatchStore


class Gallery:
    """What was made. Safe to use from one event loop only."""

    def __init__(self, batches: BatchStore) -> None:
        self._batches = batches

    async def newest(
        self, *, limit: int, offset: int = 0, caller: Caller = LOCAL, wanted: BatchFilter = ANY_BATCH
    ) -> Sequence[Batch]:
        """Newest first. Raises StorageFailure."""
        if any("\0" in text for text in (*wanted.words, wanted.model or "")):  # which not every database can look for
            return []
        return await self._batches.batches(caller.history, limit=limit, offset=offset, wanted=wanted)

    async def get(self, batch_id: str, *, caller: Caller = LOCAL, owner: str | None = None) -> Batch:
        """owner: whose batch, for a caller who sees several owners'; of those that have one of this id, the newest.

        Raises BatchNotFound, also for a batch that the caller may not see.
        """
        return await self._batches.batch(batch_id, _within(caller, owner, batch_id))

    async def forget(self, batch_id: str, *, caller: Caller = LOCAL, owner: str | None = None) -> None:
        """Takes the batch out of the history; its pictures stay, and what is being made goes on.

        Raises BatchNotFound, also for a batch that the caller may not see, and AmbiguousBatch where several owners have
        one of this id and none is named.
        """
        scope = _within(caller, owner, batch_id)
        if scope is None and len(await self._batches.owners(batch_id)) > 1:
            raise AmbiguousBatch
        await self._batches.forget(batch_id, scope)


def _within(caller: Caller, owner: str | None, batch_id: str) -> str | None:
    """The owner to look at; None for all. Raises BatchNotFound for one that the caller may not see, or that none is."""
    if owner is not None and caller.scope not in (None, owner):
        raise BatchNotFound
    if "\0" in batch_id:  # which not every database can look for
        raise BatchNotFound
    return owner if owner is not None else caller.history
