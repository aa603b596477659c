"""What the code of revision 0004 says to a database: each kind of statement, over that revision's own tables."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from tests.unit.store.schema_0004 import artifacts, attempts, batches, jobs, submit_keys, subscriptions

NOW = datetime(2026, 11, 22, 7, 30, 15, tzinfo=UTC)
REQUEST = (
    '{"model":"tiny","mode":"text2img","prompt":"a cat","negative_prompt":"","width":64,"height":64,'
    '"num_inference_steps":9,"guidance_scale":0.0,"seed":42}'
)


def make_a_picture(connection: Connection, job_id: str) -> None:
    """A job on all of its way, with its batch, its key and somebody who asked for it; and one that is removed."""
    for one_id in (job_id, "removed"):
        values = {
            "id": one_id,
            "owner": "local",
            "batch_id": one_id,
            "batch_index": 0,
            "metadata": "{}",
            "state": "pending",
            "priority": 0,
            "fingerprint": "abcdef",
            "model": "tiny",
            "mode": "text2img",
            "prompt": "a cat",
            "request": REQUEST,
            "adjustments": "[]",
            "attempt_count": 0,
            "created_at": NOW,
            "turn": 7,
        }
        sequence = connection.execute(insert(jobs).returning(jobs.c.sequence), values).scalar_one()
        batch = {"id": one_id, "owner": "local", "sequence": sequence, "created_at": NOW, "size": 1, "job_count": 1}
        connection.execute(insert(batches), batch)
        key = {"owner": "local", "key": one_id, "digest": "0", "job_ids": "[]", "counts_until": NOW + timedelta(days=1)}
        connection.execute(insert(submit_keys), key)
        connection.execute(insert(subscriptions), {"owner": "local", "client": "c", "job_id": one_id})
        is_it = jobs.c.id == one_id
        connection.execute(update(jobs).where(is_it).values(state="processing", attempt_count=1, started_at=NOW))
        connection.execute(insert(attempts), {"job_id": one_id, "number": 1, "worker": "w", "started_at": NOW})
        connection.execute(update(attempts).where(attempts.c.job_id == one_id).values(ended_at=NOW))
        connection.execute(update(jobs).where(is_it).values(state="completed", finished_at=NOW))
        picture = {"kind": "original", "name": f"{one_id}.png", "media_type": "image/png", "width": 64, "height": 64}
        connection.execute(insert(artifacts), {"job_id": one_id, "size_bytes": 9, **picture})
    connection.execute(delete(jobs).where(jobs.c.id == "removed"))
    connection.execute(delete(batches).where(batches.c.id == "removed"))
    connection.execute(delete(submit_keys).where(submit_keys.c.key == "removed"))


def read_all(connection: Connection) -> list[tuple[object, ...]]:
    """Every row of every table, with the columns that the code knows."""
    tables = (jobs, attempts, artifacts, batches, submit_keys, subscriptions)
    return [tuple(row) for table in tables for row in connection.execute(select(table))]
