"""The KeptJobs over a database."""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial

from danqing.core.types import Job
from danqing.store import kept_rows
from danqing.store.bookkeeping import Bookkeeping
from danqing.store.database import Database


class SqlKeptJobs:
    """Implements `core.keeping.KeptJobs`. books: those of the same database."""

    def __init__(self, database: Database, books: Bookkeeping) -> None:
        self._database = database
        self._books = books

    async def accepted_since(self, moment: datetime) -> Sequence[tuple[str, datetime]]:
        """See the port; so for all below."""
        return await self._database.read(partial(kept_rows.accepted_since, moment=moment))

    async def ended_before(self, moment: datetime, *, now: datetime, after: int, limit: int) -> Sequence[Job]:
        query = partial(kept_rows.ended_before, moment=moment, now=now, after=after, limit=limit)
        return await self._database.read(query)

    async def artifact_bytes(self, owner: str | None) -> int:
        return await self._database.read(partial(kept_rows.artifact_bytes, owner=owner))

    async def input_names(self, owner: str | None) -> frozenset[str]:
        names: set[str] = set()
        after: int | None = 0
        while after is not None:  # other reads come in between
            some, after = await self._database.read(partial(kept_rows.input_names, owner=owner, after=after))
            names |= some
        return frozenset(names)

    async def begin_removal(self, job_ids: Collection[str]) -> None:
        work = partial(kept_rows.begin_removal, job_ids=list(job_ids))
        await self._database.write(work, durable=False)  # a picture that is gone is noted as missing at the next start

    async def remove(self, job_ids: Collection[str]) -> int:
        work = partial(kept_rows.remove, job_ids=list(job_ids))
        removed = await self._database.write(work, durable=True, on_commit=self._books.removed)
        return removed.total()
