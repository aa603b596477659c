"""The KeptJobs over a database."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial

from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.store import kept_rows
from danqing.store.at_hand import JobsAtHand
from danqing.store.bookkeeping import Bookkeeping
from danqing.store.database import Database


class SqlKeptJobs:
    """Implements `core.keeping.KeptJobs`. books, at_hand: those of the same database. clock: None for PostgreSQL's."""

    def __init__(
        self,
        database: Database,
        books: Bookkeeping,
        *,
        clock: Callable[[], datetime] | None,
        at_hand: JobsAtHand | None = None,
    ) -> None:
        self._database = database
        self._books = books
        self._clock = clock
        self._at_hand = at_hand

    async def now(self) -> datetime:
        """See the port; so for all below."""
        return await self._database.read(kept_rows.postgres_now) if self._clock is None else self._clock()

    async def accepted_since(self, moment: datetime) -> Sequence[tuple[str, datetime]]:
        return await self._database.read(partial(kept_rows.accepted_since, moment=moment))

    async def ended_before(self, moment: datetime, *, now: datetime, after: int, limit: int) -> Sequence[Job]:
        query = partial(kept_rows.ended_before, moment=moment, now=now, after=after, limit=limit)
        return await self._database.read(query)

    async def artifact_bytes(self, owner: str | None) -> int:
        if owner is None:
            return await self._database.read(kept_rows.artifact_bytes)
        taken = 0
        for state in kept_rows.MADE:
            after: kept_rows.Place | None = kept_rows.FIRST_PLACE
            while after is not None:  # other reads come in between
                query = partial(kept_rows.owners_artifact_bytes, owner=owner, state=state, after=after)
                some, after = await self._database.read(query)
                taken += some
        return taken

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
        def committed(removed: Counter[JobState]) -> None:
            self._books.removed(removed)
            if self._at_hand is not None:
                self._at_hand.removed(job_ids)

        work = partial(kept_rows.remove, job_ids=list(job_ids))
        removed = await self._database.write(work, durable=True, on_commit=committed)
        return removed.total()
