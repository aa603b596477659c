"""The BatchStore over a database."""

from collections.abc import Sequence
from functools import partial

from danqing.core.batches import ANY_BATCH, Batch, BatchFilter
from danqing.core.errors import BatchNotFound
from danqing.store import batch_rows, batch_search
from danqing.store.database import Database


class SqlBatchStore:
    """Implements `core.ports.BatchStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def batches(
        self, owner: str | None, *, limit: int, offset: int, wanted: BatchFilter = ANY_BATCH
    ) -> Sequence[Batch]:
        """See the port; so for all below."""
        if wanted.is_any:
            read = partial(batch_rows.page, owner=owner, limit=limit, offset=offset)
            portion = await self._database.read(read)
        else:
            portion = batch_rows.Portion(batches=(), left=await self._found(owner, limit, offset, wanted))
        batches = [*portion.batches]
        while portion.left:  # however many there are, other reads come in between
            portion = await self._database.read(partial(batch_rows.of_sequences, sequences=portion.left))
            batches += portion.batches
        return batches

    async def _found(self, owner: str | None, limit: int, offset: int, wanted: BatchFilter) -> Sequence[int]:
        """The sequences of those that are wanted. However many are looked at, other reads come in between."""
        found, begun_before = list[int](), set[int]()
        before: int | None = batch_rows.MAX_SEQUENCE
        while before is not None and len(found) < offset + limit:
            search = partial(
                batch_search.search, owner=owner, wanted=wanted, before=before, most=offset + limit - len(found)
            )
            step = await self._database.read(search)
            before = step.before
            # A batch that was begun before what was looked at is older than some that are still to be found.
            begun_before |= step.batches
            in_order = {sequence for sequence in begun_before if before is None or sequence >= before}
            found += sorted(in_order, reverse=True)
            begun_before -= in_order
        return found[offset : offset + limit]

    async def batch(self, batch_id: str, owner: str | None) -> Batch:
        batch = await self._database.read(partial(batch_rows.find, batch_id=batch_id, owner=owner))
        if batch is None:
            raise BatchNotFound
        return batch

    async def owners(self, batch_id: str) -> Sequence[str]:
        return await self._database.read(partial(batch_rows.owners, batch_id=batch_id))

    async def forget(self, batch_id: str, owner: str | None) -> None:
        work = partial(batch_rows.forget, batch_id=batch_id, owner=owner)
        if not await self._database.write(work, durable=True):
            raise BatchNotFound
