"""What an operator of zimage finds in its tables, he finds in the views of their names."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine

from danqing.core.callers import LOCAL
from danqing.core.errors import DanqingError
from danqing.core.states import JobState
from danqing.core.types import Artifact, ArtifactKind, Job, JobFailure
from danqing.dialects.zimage.failure_texts import failure_text
from danqing.dialects.zimage.picture_names import Shelf, relative_path, task_id_of
from danqing.dialects.zimage.translate_out import ITEM_STATUS, from_batches
from danqing.store.migration import migrate
from danqing.store.postgres import PostgresStores
from danqing.store.postgres_address import postgres_address
from tests.fakes.domain import LOST, NO_LIMIT, a_job, a_request, an_original
from tests.services.postgres import running_postgres
from tests.unit.store.postgres.asking import ask, ask_for_rows

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=2)
A_LONG_TIME, JUST_NOW = timedelta(days=2), timedelta()
SHELF = Shelf(location=str, link=str)


def every_error() -> list[type[DanqingError]]:
    kinds: list[type[DanqingError]] = [DanqingError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return kinds


def a_preview(job: Job) -> Artifact:
    return Artifact(
        kind=ArtifactKind.PREVIEW,
        name=f"{job.id}.webp",
        media_type="image/webp",
        width=512,
        height=512,
        size_bytes=9,
    )


def upgraded_to(url: str, revision: str) -> None:
    """Runs the migrations of an empty database up to this one."""
    engine = create_engine(postgres_address(url))
    with engine.connect() as connection:
        migrate(connection, revision)
    engine.dispose()


async def in_state(stores: PostgresStores, state: JobState, **changes: Any) -> Job:  # noqa: ANN401 - fields of the job
    job = await stores.jobs.add(a_job(**{"created_at": LONG_AGO, **changes}), NO_LIMIT, batch_size=1)
    moves = {
        JobState.GENERATED: lambda: stores.jobs.generate(job.id, 1, [an_original(job)], []),
        JobState.COMPLETED: lambda: stores.jobs.complete(job.id, 1, [an_original(job), a_preview(job)], [], NOW),
        JobState.FAILED: lambda: stores.jobs.fail(job.id, 1, JobFailure(code="out_of_memory", message="x"), NOW),
        JobState.CANCELLED: lambda: stores.jobs.cancel(job.id, NOW),
    }
    if state is not JobState.PENDING:
        await stores.jobs.claim(job.id, "w", NOW)
    if state in moves:
        await moves[state]()
    return await stores.jobs.get(job.id)


def task_of(url: str, job: Job) -> dict[str, Any]:
    (row,) = ask_for_rows(url, "SELECT * FROM image_generation_tasks WHERE task_id = %s", task_id_of(job))
    return row


async def test_a_task_is_told_in_zimages_words(url: str, stores: PostgresStores) -> None:
    # Given a completed job that uses every field that zimage has
    request = a_request(
        prompt="一只猫\n' %",
        negative_prompt="dogs",
        seed=2**63 - 1,
        guidance_scale=3.5,
        cfg_normalization=0.5,
        cfg_truncation=1.0,
        max_sequence_length=512,
    )
    job = await in_state(stores, JobState.COMPLETED, request=request, owner="key", batch_id="b", batch_index=3)
    # Then its row says all of it, with the paths that the dialect answers
    assert task_of(url, job) == {
        "task_id": uuid.UUID(job.id).hex,
        "batch_id": "b",
        "batch_index": 3,
        "status": "success",
        "prompt": "一只猫\n' %",
        "height": 1024,
        "width": 1024,
        "num_inference_steps": 9,
        "guidance_scale": 3.5,
        "seed": 2**63 - 1,
        "negative_prompt": "dogs",
        "cfg_normalization": 0.5,
        "cfg_truncation": 1.0,
        "max_sequence_length": 512,
        "auth_key": "key",
        "relative_path": relative_path(job, ArtifactKind.ORIGINAL),
        "preview_relative_path": relative_path(job, ArtifactKind.PREVIEW),
        "created_at": LONG_AGO,
        "started_at": NOW,
        "finished_at": NOW,
        "error_code": None,
        "error_hint": None,
        "job_id": job.id,
    }


@pytest.mark.parametrize("state", JobState)
async def test_a_task_in_each_state(url: str, stores: PostgresStores, state: JobState) -> None:
    job = await in_state(stores, state)
    row, text = task_of(url, job), failure_text(job)
    assert row["status"] == ITEM_STATUS[state]
    assert (row["error_code"], row["error_hint"]) == ((text.code, text.hint) if text else (None, None))
    assert (row["relative_path"] is None) == (state is not JobState.COMPLETED)
    assert (row["auth_key"], row["cfg_truncation"]) == (None, None)


async def test_every_failure_has_the_code_and_hint_that_the_dialect_tells(url: str, stores: PostgresStores) -> None:
    for code in {kind.code for kind in every_error()}:
        job = await in_state(stores, JobState.PROCESSING)
        failed = await stores.jobs.fail(job.id, 1, JobFailure(code=code, message="x"), NOW)
        assert failed is not None
        text = failure_text(failed)
        assert text is not None
        row = task_of(url, failed)
        assert (row["error_code"], row["error_hint"]) == (text.code, text.hint)


WAITS, RUNS, DONE, MAKING = JobState.PENDING, JobState.PROCESSING, JobState.COMPLETED, JobState.GENERATED
FAILED, CANCELLED = JobState.FAILED, JobState.CANCELLED


@pytest.mark.parametrize(
    ("states", "size", "age", "status"),
    [
        ([WAITS, WAITS], 2, A_LONG_TIME, "pending"),
        ([WAITS, DONE], 2, A_LONG_TIME, "running"),
        ([MAKING], 1, A_LONG_TIME, "running"),
        ([RUNS], 1, A_LONG_TIME, "running"),
        ([DONE], 2, JUST_NOW, "running"),
        ([DONE], 2, A_LONG_TIME, "partial"),
        ([DONE, DONE], 2, JUST_NOW, "success"),
        ([DONE, FAILED], 2, JUST_NOW, "partial"),
        ([FAILED, CANCELLED], 2, JUST_NOW, "error"),
        ([CANCELLED, CANCELLED], 2, JUST_NOW, "cancelled"),
    ],
)
async def test_a_batch_is_told_as_the_history_tells_it(
    url: str, stores: PostgresStores, states: list[JobState], size: int, age: timedelta, status: str
) -> None:
    # Given a batch with these jobs, announced to be of this size
    since = datetime.now(UTC) - age
    for index, state in enumerate(states):
        request = a_request(seed=7 - index, negative_prompt="n")
        place = len(states) - index
        await in_state(stores, state, batch_id="批次", batch_index=place, created_at=since, request=request)
    ask(url, "UPDATE batches SET size = %s", size)
    # Then its row says what the history says, with its first picture's values
    (row,) = ask_for_rows(url, "SELECT * FROM image_generation_batches")
    batch = await stores.batches.batch("批次", None)
    (summary,) = from_batches([batch], SHELF, now=datetime.now(UTC), caller=LOCAL)
    assert (row["batch_id"], row["status"]) == ("批次", status)
    assert batch.state_at(NOW).value == status
    assert row["base_seed"] == summary.base_seed == 8 - len(states)
    for name in ("batch_size", "success_count", "failed_count", "prompt", "height", "width", "num_inference_steps"):
        assert row[name] == getattr(summary, name)
    assert row["created_at"] == since
    assert (row["finished_at"] is None) == any(not state.is_final for state in states)


async def test_a_forgotten_batch_and_its_tasks_have_no_rows(url: str, stores: PostgresStores) -> None:
    # Given a batch of one owner, and one of the same id of another
    job = await in_state(stores, DONE, batch_id="b", owner="ann")
    others = await in_state(stores, DONE, batch_id="b", owner="bob")
    # When the first is deleted from the history
    await stores.batches.forget("b", "ann")
    # Then what is left is the other's, and the job can still be asked for
    assert ask(url, "SELECT batch_id, auth_key FROM image_generation_batches") == [("b", "bob")]
    assert ask(url, "SELECT job_id FROM image_generation_tasks") == [(others.id,)]
    assert (await stores.jobs.get(job.id)).state is DONE
    # And what comes later in that batch is told of, alone
    later = await in_state(stores, WAITS, batch_id="b", owner="ann")
    assert {job_id for (job_id,) in ask(url, "SELECT job_id FROM image_generation_tasks")} == {others.id, later.id}
    assert ask(url, "SELECT batch_size FROM image_generation_batches WHERE auth_key = 'ann'") == [(1,)]


async def test_one_odd_job_does_not_spoil_the_others(url: str, stores: PostgresStores) -> None:
    # Given a job whose texts have NULs and backslashes, and one that is damaged
    odd = await in_state(stores, WAITS, request=a_request(prompt="a\x00b\\u0000", negative_prompt="\x00c\\\x00\\u0000"))
    damaged = await in_state(stores, WAITS)
    ask(url, "UPDATE jobs SET request = '{' WHERE id = %s", damaged.id)
    # Then both have rows
    assert task_of(url, odd)["negative_prompt"] == "c\\\\u0000"
    assert task_of(url, damaged)["width"] is None
    assert len(ask(url, "SELECT * FROM image_generation_batches")) == 2


async def test_tables_that_are_there_already_stay() -> None:
    # Given a database with zimage's own table in it
    url = running_postgres().new_database(migrated=False)
    ask(url, "CREATE TABLE image_generation_tasks (id integer)")
    # When it becomes ours, too, then that table is as it was, and everything works
    stores = PostgresStores.open(url)
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    await stores.jobs.claim(job.id, "w", NOW)
    assert await stores.jobs.give_back(job.id, 1, LOST, NOW)
    await stores.close()
    assert ask(url, "SELECT * FROM image_generation_tasks") == []
    running_postgres().drop_database(url)


async def test_the_view_of_an_older_database_is_replaced_with_what_reads_it(empty: str) -> None:
    # Given a database of the revision before, with a report of an operator's
    upgraded_to(empty, "0010")
    ask(empty, "CREATE VIEW report AS SELECT count(*) AS tasks FROM image_generation_tasks")
    # When this version opens it, then the report goes on, and counts what the history shows
    stores = PostgresStores.open(empty)
    await in_state(stores, DONE, batch_id="b")
    await in_state(stores, DONE, batch_id="c")
    await stores.batches.forget("b", None)
    await stores.close()
    assert ask(empty, "SELECT tasks FROM report") == [(1,)]


@pytest.mark.parametrize(
    "made",
    [
        "CREATE VIEW image_generation_tasks AS SELECT 1 AS id",
        "CREATE TABLE image_generation_tasks AS SELECT 1 AS id",
    ],
)
def test_what_took_the_views_place_stays(empty: str, made: str) -> None:
    # Given a database of the revision before, whose operator has put something of his own in the views' place
    upgraded_to(empty, "0010")
    ask(empty, "DROP VIEW image_generation_batches, image_generation_tasks")
    ask(empty, made)
    # When this version opens it, then that is as it was
    PostgresStores.open(empty).close_now()
    assert ask(empty, "SELECT * FROM image_generation_tasks") == [(1,)]


def test_a_view_that_is_not_there_is_not_made_again(empty: str) -> None:
    upgraded_to(empty, "0010")
    ask(empty, "DROP VIEW image_generation_batches, image_generation_tasks")
    PostgresStores.open(empty).close_now()
    assert ask(empty, "SELECT to_regclass('image_generation_tasks')") == [(None,)]
