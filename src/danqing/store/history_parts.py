"""Parts of the history that are indexed: which there are, and which of their jobs have what terms. Over a connection.

A part is of neighbouring sequences. It is written bit by bit, found once it is whole, and removed bit by bit.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import BigInteger, Connection, Integer, bindparam, delete, insert, select, update

from danqing.core.errors import StorageFailure
from danqing.store.schema import history_parts, history_terms
from danqing.store.search_terms import TERMS

LEAF = 2048  # sequences of the smallest part; the schema's triggers say so, too
SIZES = (LEAF, 16 * LEAF, 256 * LEAF)  # 16 of one size become one of the next
KEYS_OF_PART = 1 << 14


class PartState(StrEnum):
    """How far a part is."""

    GROWING = "growing"
    WHOLE = "whole"
    GOING = "going"


@dataclass(frozen=True)
class Part:
    """Of the jobs from `first` on, before `end`."""

    id: int
    first: int
    size: int

    @property
    def end(self) -> int:
        """The sequence after its last."""
        return self.first + self.size


_IS = history_parts.c.id == bindparam("of_part", type_=BigInteger)
_PARTS = select(history_parts.c.id, history_parts.c.first, history_parts.c.size)
WHOLE = _PARTS.where(history_parts.c.state == PartState.WHOLE.value).order_by(history_parts.c.first.desc())
OLDER = WHOLE.where(history_parts.c.first < bindparam("before", type_=BigInteger)).limit(
    bindparam("most", type_=Integer)
)
GOING = _PARTS.where(history_parts.c.state == PartState.GOING.value)
BEGIN = insert(history_parts).returning(history_parts.c.id)
GOES_ON = update(history_parts).where(_IS, history_parts.c.state == PartState.GROWING.value)
LEAVE_HALF = update(history_parts).where(history_parts.c.state == PartState.GROWING.value)
RETIRE = update(history_parts).where(_IS, history_parts.c.state == PartState.WHOLE.value)
FORGET = delete(history_parts).where(_IS)
ADD_TERMS = insert(history_terms)
_IS_AMONG = (
    history_terms.c.key >= bindparam("first_key", type_=BigInteger),
    history_terms.c.key < bindparam("end_key", type_=BigInteger),
)
AMONG = select(history_terms.c.key, history_terms.c.jobs).where(*_IS_AMONG)
REMOVE_AMONG = delete(history_terms).where(*_IS_AMONG)
OF_KEYS = select(history_terms.c.key, history_terms.c.jobs).where(
    history_terms.c.key.in_(bindparam("keys", expanding=True))
)


def key_of(part_id: int, term: int) -> int:
    """Of a row of `history_terms`."""
    return part_id * KEYS_OF_PART + term


def packed(jobs: bytes | bytearray) -> bytes:
    """As it is stored. jobs: a bit for each sequence of the part."""
    return zlib.compress(jobs, 1)


def unpacked(stored: bytes) -> bytes:
    """The bits. Raises StorageFailure for what was never stored so."""
    try:
        return zlib.decompress(stored)
    except zlib.error as exc:
        raise StorageFailure("The index of the history is damaged.") from exc


def whole(connection: Connection) -> list[Part]:
    """All, newest first."""
    return [Part(*row) for row in connection.execute(WHOLE)]


def older(connection: Connection, before: int, most: int) -> list[Part]:
    """The next that have sequences before this one, newest first, as far as there is no gap between them."""
    parts: list[Part] = []
    for row in connection.execute(OLDER, {"before": before, "most": most}):
        part = Part(*row)
        if parts and part.end < parts[-1].first:
            break
        parts.append(part)
    return parts


def jobs_with(connection: Connection, parts: Sequence[Part], terms: Sequence[int]) -> Iterator[int]:
    """The sequences in these parts, newest first, of jobs that have all of these terms, and perhaps of some others."""
    keys = [key_of(part.id, term) for part in parts for term in terms]
    stored: dict[int, bytes] = {key: jobs for key, jobs in connection.execute(OF_KEYS, {"keys": keys})}
    for part in parts:
        bits = -1
        for term in terms:
            jobs = stored.get(key_of(part.id, term))
            bits &= int.from_bytes(unpacked(jobs), "little") if jobs else 0
            if not bits:
                break
        while bits > 0:
            highest = bits.bit_length() - 1
            yield part.first + highest
            bits ^= 1 << highest


def begin(connection: Connection, first: int, size: int) -> int:
    """A new part, in which nothing is yet; its id."""
    values = {"first": first, "size": size, "state": PartState.GROWING.value}
    return connection.execute(BEGIN, values).scalar_one()


def add(connection: Connection, part_id: int, jobs_of: Mapping[int, bytes]) -> None:
    """Puts terms into a growing part. Raises StorageFailure if somebody else has taken it away."""
    _go_on(connection, part_id, PartState.GROWING)
    rows = [{"key": key_of(part_id, term), "jobs": jobs} for term, jobs in jobs_of.items()]
    if rows:
        connection.execute(ADD_TERMS, rows)


def among(connection: Connection, part: Part, terms: range) -> dict[int, bytes]:
    """What is stored of a part, by the terms in this range."""
    bounds = {"first_key": key_of(part.id, terms.start), "end_key": key_of(part.id, terms.stop)}
    return {key % KEYS_OF_PART: jobs for key, jobs in connection.execute(AMONG, bounds)}


def finish(connection: Connection, part_id: int, instead_of: Sequence[Part] = ()) -> None:
    """The part is whole from now on; those that it is instead of go. Raises StorageFailure as `add` does."""
    _go_on(connection, part_id, PartState.WHOLE)
    retire(connection, instead_of)


def retire(connection: Connection, parts: Sequence[Part]) -> None:
    """They are not found any more, and go."""
    for part in parts:
        connection.execute(RETIRE, {"of_part": part.id, "state": PartState.GOING.value})


def to_remove(connection: Connection) -> list[Part]:
    """Those that go, and with them whatever was not finished."""
    connection.execute(LEAVE_HALF, {"state": PartState.GOING.value})
    return [Part(*row) for row in connection.execute(GOING)]


def remove_among(connection: Connection, part: Part, terms: range) -> None:
    """The rows of these terms; with the last term the part, too."""
    bounds = {"first_key": key_of(part.id, terms.start), "end_key": key_of(part.id, terms.stop)}
    connection.execute(REMOVE_AMONG, bounds)
    if terms.stop >= TERMS:
        connection.execute(FORGET, {"of_part": part.id})


def _go_on(connection: Connection, part_id: int, state: PartState) -> None:
    if connection.execute(GOES_ON, {"of_part": part_id, "state": state.value}).rowcount != 1:
        raise StorageFailure("Somebody else has begun to index the same part of the history.")
