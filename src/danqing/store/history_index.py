"""Indexes the history for searches, and counts it for its pages, in the background: jobs need not wait for that.

The newest jobs are in no part yet: some thousands, which a search looks at one by one. Knows nothing of what is asked.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy import BigInteger, Connection, Integer, bindparam, func, select

from danqing.core.errors import DanqingError
from danqing.core.exclusive import Exclusive, alone
from danqing.store import history_counts, history_parts
from danqing.store.database import Database
from danqing.store.history_parts import LEAF, SIZES, Part
from danqing.store.schema import jobs
from danqing.store.search_terms import TERMS, terms_of

T = TypeVar("T")
Row = tuple[int, str, str, str, str]  # sequence, owner, model, mode, prompt
Bits = dict[int, bytearray]  # of a part, by the term
log = structlog.get_logger(__name__)

LOOK_EVERY_S = 60.0
REST = 4.0  # times as long as it works: it takes a fifth of a core at most
ROWS_AT_ONCE, TERMS_AT_ONCE, REMOVED_AT_ONCE = 64, 256, 1024

OLDEST = select(func.min(jobs.c.sequence))
ROWS = (
    select(jobs.c.sequence, jobs.c.owner, jobs.c.model, jobs.c.mode, jobs.c.prompt)
    .where(jobs.c.sequence > bindparam("after", type_=BigInteger), jobs.c.sequence < bindparam("end", type_=BigInteger))
    .order_by(jobs.c.sequence)
    .limit(bindparam("rows", type_=Integer))
)


@dataclass(frozen=True)
class _Merge:
    parts: Sequence[Part]
    first: int
    size: int


class HistoryIndex:
    """Makes parts of LEAF sequences, and of neighbours one of the next size, and lets go of those whose jobs are gone.
    For one event loop. Two processes that do it at once only do it twice.
    """

    def __init__(self, database: Database, *, settled: Callable[[], Awaitable[int]], rest: float = REST) -> None:
        """settled: a sequence before which no job is still to come."""
        self._database = database
        self._settled = settled
        self._rest = rest

    async def run(self, *, exclusive: Exclusive = alone) -> None:
        """Until it is cancelled. exclusive: True inside for one of all processes at a time, by a name."""
        while True:
            try:
                async with exclusive("history-index") as is_ours:
                    if is_ours:
                        await self.catch_up()
            except DanqingError as exc:
                log.warning("history_not_indexed", code=exc.code, hint="it is tried again; searches take longer")
            except Exception as exc:  # nobody else would ever index anything
                log.error("history_not_indexed", error=type(exc).__name__, exc_info=exc)
            await asyncio.sleep(LOOK_EVERY_S)

    async def catch_up(self) -> None:
        """Indexes all that is settled. Raises StorageFailure."""
        await self._remove_parts()
        end = await self._settled()
        while (next_one := await self._database.read(partial(_next, end=end))) is not None:
            if isinstance(next_one, int):
                await self._grow_leaf(next_one)
            else:
                await self._merge(next_one)
        if await self._database.read(partial(_outlived, end=end)):
            await self._database.write(partial(_let_go, end=end), durable=False)
            await self._remove_parts()

    async def _grow_leaf(self, first: int) -> None:
        """Of these sequences, with their counts."""
        part_id = await self._write(partial(history_parts.begin, first=first, size=LEAF))
        bits: Bits = defaultdict(partial(bytearray, LEAF // 8))
        after: int | None = first - 1
        while after is not None:
            rows = await self._database.read(partial(_rows, after=after, end=first + LEAF))
            await self._at_leisure(asyncio.to_thread(_note, bits, rows, first))
            after = rows[-1][0] if rows else None
        for start in range(0, TERMS, TERMS_AT_ONCE):
            some = {term: bits[term] for term in range(start, start + TERMS_AT_ONCE) if term in bits}
            await self._add(part_id, some)
        await self._write(partial(_finish_leaf, part_id=part_id, first=first))

    async def _merge(self, merge: _Merge) -> None:
        part_id = await self._write(partial(history_parts.begin, first=merge.first, size=merge.size))
        for start in range(0, TERMS, TERMS_AT_ONCE):
            terms = range(start, start + TERMS_AT_ONCE)
            stored = await self._database.read(partial(_stored, parts=merge.parts, terms=terms))
            await self._add(part_id, await asyncio.to_thread(_joined, stored, merge))
        await self._write(partial(history_parts.finish, part_id=part_id, instead_of=merge.parts))
        await self._remove_parts()

    async def _add(self, part_id: int, bits: Mapping[int, bytearray]) -> None:
        async def add() -> None:
            jobs_of = await asyncio.to_thread(_packed, bits)
            await self._write(partial(history_parts.add, part_id=part_id, jobs_of=jobs_of))

        if bits:
            await self._at_leisure(add())

    async def _remove_parts(self) -> None:
        """Those that are not found any more, and what a crash has left half done."""
        for part in await self._write(history_parts.to_remove):
            for start in range(0, TERMS, REMOVED_AT_ONCE):
                terms = range(start, start + REMOVED_AT_ONCE)
                await self._at_leisure(self._write(partial(history_parts.remove_among, part=part, terms=terms)))

    async def _write(self, work: Callable[[Connection], T]) -> T:
        """What a crash forgets is done again."""
        return await self._database.write(work, durable=False)

    async def _at_leisure(self, work: Awaitable[T]) -> T:
        begun = time.perf_counter()
        result = await work
        await asyncio.sleep(self._rest * (time.perf_counter() - begun))
        return result


def _next(connection: Connection, end: int) -> int | _Merge | None:
    """Parts that should be one, or the newest leaf that lacks, by its first sequence; None where all is done."""
    oldest: int | None = connection.execute(OLDEST).scalar()
    if oldest is None:
        return None
    parts = history_parts.whole(connection)
    indexed = {leaf for part in parts for leaf in range(part.first, part.end, LEAF)}
    leaves = range(oldest // LEAF * LEAF, end // LEAF * LEAF, LEAF)
    lacking = [leaf for leaf in leaves if leaf not in indexed]
    return _next_merge(parts, lacking, leaves.stop) or max(lacking, default=None)


def _next_merge(parts: Sequence[Part], lacking: Sequence[int], end: int) -> _Merge | None:
    """One that leaves no job out: of those whose parts there were and went, nothing is left."""
    for size in SIZES[1:]:
        unready = {leaf // size for leaf in lacking}
        lots = defaultdict[int, list[Part]](list)
        for part in parts:
            if part.size < size:
                lots[part.first // size].append(part)
        for number, lot in lots.items():
            if number not in unready and (number + 1) * size <= end:
                return _Merge(lot, number * size, size)
    return None


def _rows(connection: Connection, after: int, end: int) -> list[Row]:
    found = connection.execute(ROWS, {"after": after, "end": end, "rows": ROWS_AT_ONCE})
    return [(sequence, owner, model, mode, prompt) for sequence, owner, model, mode, prompt in found]


def _note(bits: Bits, rows: Sequence[Row], first: int) -> None:
    for sequence, *job in rows:
        byte, bit = divmod(sequence - first, 8)
        for term in terms_of(*job):
            bits[term][byte] |= 1 << bit


def _packed(bits: Mapping[int, bytearray]) -> dict[int, bytes]:
    return {term: history_parts.packed(its_jobs) for term, its_jobs in bits.items()}


def _stored(connection: Connection, parts: Sequence[Part], terms: range) -> dict[Part, dict[int, bytes]]:
    return {part: history_parts.among(connection, part, terms) for part in parts}


def _joined(stored: Mapping[Part, Mapping[int, bytes]], merge: _Merge) -> Bits:
    """The bits of all these parts, each at its place in the new one."""
    bits: Bits = defaultdict(partial(bytearray, merge.size // 8))
    for part, jobs_of in stored.items():
        place = (part.first - merge.first) // 8
        for term, packed in jobs_of.items():
            bits[term][place : place + part.size // 8] = history_parts.unpacked(packed)
    return bits


def _finish_leaf(connection: Connection, part_id: int, first: int) -> None:
    history_counts.count(connection, first)
    history_parts.finish(connection, part_id)


def _outlived(connection: Connection, end: int) -> list[Part]:
    """Parts of jobs that are gone, all of them. end: where there is no job any more, all before are."""
    oldest: int | None = connection.execute(OLDEST).scalar()
    return [part for part in history_parts.whole(connection) if part.end <= (end if oldest is None else oldest)]


def _let_go(connection: Connection, end: int) -> None:
    outlived = _outlived(connection, end)
    history_parts.retire(connection, outlived)
    for part in outlived:
        history_counts.forget(connection, part.first, part.end)
