"""Which jobs a submit made that named a key, so that its repetition is answered with them. Over an open connection."""

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, delete, insert, select, tuple_

from danqing.core.submitting import SubmitKey
from danqing.core.types import Job
from danqing.store import loading
from danqing.store.schema import submit_keys

FORGOTTEN_AT_ONCE = 100  # each new key lets so many old ones go, so they become no more

OF_THIS = and_(submit_keys.c.owner == bindparam("of_owner"), submit_keys.c.key == bindparam("of_key"))
FIND = select(submit_keys).where(OF_THIS)
REMOVE = delete(submit_keys).where(OF_THIS)
INSERT = insert(submit_keys)
OUTLIVED = (
    select(submit_keys.c.owner, submit_keys.c.key)
    .where(submit_keys.c.counts_until <= bindparam("now"))
    .order_by(submit_keys.c.counts_until)
    .limit(FORGOTTEN_AT_ONCE)
)
FORGET = delete(submit_keys).where(
    tuple_(submit_keys.c.owner, submit_keys.c.key).in_(bindparam("outlived", expanding=True))
)


def find(connection: Connection, owner: str, key: SubmitKey, now: datetime) -> Sequence[Job] | bool | None:
    """The jobs of the submit that this one repeats; False where it is another submit under the same key.

    None: the key is not known, not any more, or not all of its jobs are there.
    """
    row = connection.execute(FIND, {"of_owner": owner, "of_key": key.text}).mappings().first()
    if row is None or row["counts_until"] <= now:
        return None
    job_ids: list[str] = json.loads(row["job_ids"])
    found = [rows.job() for rows in loading.rows_of(connection, job_ids)]
    if len(found) < len(job_ids):
        return None
    return found if row["digest"] == key.digest else False


def note(connection: Connection, owner: str, key: SubmitKey, job_ids: Sequence[str], now: datetime) -> None:
    """From now on a repetition is known."""
    if outlived := connection.execute(OUTLIVED, {"now": now}).all():
        connection.execute(FORGET, {"outlived": [tuple(row) for row in outlived]})
    connection.execute(REMOVE, {"of_owner": owner, "of_key": key.text})
    connection.execute(
        INSERT,
        {
            "owner": owner,
            "key": key.text,
            "digest": key.digest,
            "job_ids": json.dumps(list(job_ids)),
            "counts_until": now + key.lifetime,
        },
    )
