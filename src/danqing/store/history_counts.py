"""How many batches there are in each stretch of the history in which no more come, so that a page far down is found
without a look at each batch before it. Over a connection. Triggers of the database count those off that go.
"""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import BigInteger, Connection, Row, and_, bindparam, delete, func, insert, select

from danqing.store.history_parts import LEAF
from danqing.store.schema import batches, history_counts, owner_history_counts

_FIRST, _END = bindparam("of_first", type_=BigInteger), bindparam("of_end", type_=BigInteger)
# Whoever is about to remove one of them waits until they are counted.
TO_COUNT = (
    select(batches.c.owner).where(batches.c.sequence >= _FIRST, batches.c.sequence < _END).with_for_update(read=True)
)
ADD, ADD_OWNERS = insert(history_counts), insert(owner_history_counts)
FORGET = delete(history_counts).where(history_counts.c.first >= _FIRST, history_counts.c.first < _END)
FORGET_OWNERS = delete(owner_history_counts).where(
    owner_history_counts.c.first >= _FIRST, owner_history_counts.c.first < _END
)
COUNTS = select(history_counts.c.first, history_counts.c.batches).order_by(history_counts.c.first.desc())
_IS_OWNERS = and_(
    owner_history_counts.c.owner == bindparam("of_owner"),
    owner_history_counts.c.first == history_counts.c.first,
)
OWNERS_COUNTS = (
    select(history_counts.c.first, func.coalesce(owner_history_counts.c.batches, 0))
    .outerjoin_from(history_counts, owner_history_counts, _IS_OWNERS)
    .order_by(history_counts.c.first.desc())
)
_IS_NEWER = batches.c.sequence >= _FIRST
NEWER = select(func.count()).select_from(batches).where(_IS_NEWER)
OWNERS_NEWER = NEWER.where(batches.c.owner == bindparam("of_owner"))


def count(connection: Connection, first: int) -> None:
    """The batches of the LEAF sequences from this one on, in which no more come."""
    stretch = {"of_first": first, "of_end": first + LEAF}
    forget(connection, first, first + LEAF)
    of_owner = Counter(connection.execute(TO_COUNT, stretch).scalars())
    connection.execute(ADD, {"first": first, "batches": of_owner.total()})
    if of_owner:
        rows = [{"owner": owner, "first": first, "batches": number} for owner, number in of_owner.items()]
        connection.execute(ADD_OWNERS, rows)


def forget(connection: Connection, first: int, end: int) -> None:
    """Of stretches whose jobs are gone. A batch that is left there is counted no more, but passed over one by one."""
    stretch = {"of_first": first, "of_end": end}
    connection.execute(FORGET, stretch)
    connection.execute(FORGET_OWNERS, stretch)


def nearer(connection: Connection, owner: str | None, offset: int) -> tuple[int | None, int]:
    """A sequence, and how many of the batches before it are to be passed over instead of `offset` of all that this
    owner or, with None, everybody has. None for all.
    """
    whose: dict[str, object] = {} if owner is None else {"of_owner": owner}
    counted = connection.execute(COUNTS if owner is None else OWNERS_COUNTS, whose).all()
    if not counted:
        return None, offset
    end = counted[0][0] + LEAF
    newer: int = connection.execute(NEWER if owner is None else OWNERS_NEWER, {"of_first": end, **whose}).scalar_one()
    if newer > offset:
        return None, offset
    return _passed_over(counted, end, offset - newer)


def _passed_over(counted: Sequence[Row[int, int]], end: int, offset: int) -> tuple[int, int]:
    """counted: newest first; there may be gaps between them, of what is not counted."""
    for first, number in counted:
        if first + LEAF != end or number > offset:
            break
        end, offset = first, offset - number
    return end, offset
