"""How PostgreSQL carries the statements out: each goes by an index, however many jobs wait and however many ended."""

from typing import Any

import pytest
from sqlalchemy import bindparam, select, text

from danqing.core.batches import BatchFilter
from danqing.core.states import JobState
from danqing.store import (
    batch_rows,
    batch_search,
    history_counts,
    history_index,
    history_parts,
    kept_rows,
    line_claims,
    line_rows,
    loading,
    moves,
    nodes,
    places,
    queries,
    schema,
    submit_keys,
    subscriptions,
)
from danqing.store.postgres import PostgresStores
from danqing.store.rows import job_values
from danqing.store.turns import TURN
from tests.fakes.domain import NOW, a_job
from tests.services.postgres import running_postgres
from tests.unit.store.postgres.asking import ask, plan_of

FILL = """
    INSERT INTO jobs (id, owner, batch_id, state, priority, fingerprint, model, mode, prompt, request, adjustments,
                      attempt_count, created_at, turn)
    SELECT 'job-' || n, 'owner-' || n %% 50, 'job-' || n, CASE WHEN n %% 3 = 0 THEN 'pending' ELSE 'completed' END, 0,
           md5(n::text), 'tiny', 'text2img', 'a cat', %s, '[]', 0, now(), n FROM generate_series(1, 60000) AS n
"""
MORE = (
    "INSERT INTO batches SELECT id, owner, sequence, created_at, 1, 1 FROM jobs",
    "INSERT INTO subscriptions (owner, client, job_id) SELECT owner, 'c', id FROM jobs WHERE sequence % 10 = 0",
    "INSERT INTO attempts SELECT id, 1, 'w', now() FROM jobs WHERE sequence % 10 = 0",
    "INSERT INTO artifacts SELECT id, 'original', id, 'image/png', 1, 1, 1 FROM jobs WHERE sequence % 10 = 0",
    "INSERT INTO submit_keys SELECT owner, id, '0', '[]', now() FROM jobs WHERE sequence % 10 = 0",
    "INSERT INTO history_terms SELECT n, '' FROM generate_series(1, 20000) AS n",
    "INSERT INTO owner_history_counts SELECT 'owner-' || n % 50, n / 50 * 2048, 1 FROM generate_series(1, 20000) AS n",
    "SET default_statistics_target = 300; ANALYZE",  # looks at every row, so that each run plans alike
)
LINE = {"of_model": "tiny", "most": 32, "unread": ["job-6"]}
CLAIM = {**LINE, "of_worker": "w", "now": NOW, "passed_over": ["owner-1"], "max_running": 2}
OWNER = {"of_owner": "owner-1", "of_priority": 0, "of_work": 1}
WANTED = BatchFilter(words=("cat",), promising=True)
KEPT = {"of_owner": "owner-1", "after_priority": 0, "after_turn": 1}
SLICE = {"before": 9000, "end": 8000}
PAGE = {"page_limit": 20, "page_offset": 980}


@pytest.fixture(scope="module")
def crowded() -> Any:  # noqa: ANN401 - an iterator of stores
    """Stores with 20,000 waiting jobs, and 40,000 that have ended."""
    server = running_postgres()
    url = server.new_database()
    ask(url, FILL, job_values(a_job())["request"])
    for statement in MORE:
        ask(url, statement)
    stores = PostgresStores.open(url)
    yield stores
    stores.close_now()
    server.drop_database(url)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (line_rows.HEAD, LINE),
        (line_rows.HEAD_WITHOUT_SOME, CLAIM),
        (line_claims.CLAIM_FIRST, CLAIM),
        (line_claims.KEEP_FIRST, CLAIM),
        (line_claims.FULL_OWNERS, CLAIM),
        (line_claims.KEEP_ONE_OF, {"ids": ["job-3"], "unread": ["job-6"]}),
        (line_claims.CLAIM_KEPT, {**CLAIM, "of_owner": "owner-1", "kept": 3}),
        (line_claims.CLAIMED_AT, {"of_worker": "w", "now": NOW}),
        (line_claims.WAITING_STILL, {"ids": ["job-3"]}),
        (moves.OWNER, {"of_job": "job-3"}),
        (moves.STATE.statement, {"of_job": "job-3"}),
        (moves.STATE_IN_ATTEMPT.statement, {"of_job": "job-3", "of_attempt": 1}),
        (select(TURN), OWNER),
        (places.BEFORE, {"priority": 0, "turn": 1, "sequence": 1}),
        (queries.OWNERS_PENDING_COUNT.statement, {"owner": "owner-1"}),
        (queries.EQUAL_ID.statement, {"owner": "owner-1", "fingerprint": "abcdef"}),
        (queries.EQUAL_ID_UNDER_WAY.statement, {"owner": "owner-1", "fingerprint": "abcdef"}),
        (queries.IDS_WITH_FINGERPRINT, {"first": "abcdef", "after": "abcdeg"}),
        (queries.AGES, {"ids": ["job-3"]}),
        (queries.ARTIFACT_NAMES, {"ids": ["job-3"]}),
        (loading.JOBS, {"ids": ["job-3"]}),
        (loading.ATTEMPTS, {"ids": ["job-3"]}),
        (loading.ARTIFACTS, {"ids": ["job-3"]}),
        (submit_keys.FIND, {"of_owner": "owner-1", "of_key": "a"}),
        (submit_keys.OUTLIVED, {"now": NOW}),
        (batch_rows.PAGE, PAGE),
        (batch_rows.OWNERS_PAGE, {**PAGE, "of_owner": "owner-1"}),
        (batch_rows.OF_SEQUENCES, {"sequences": [1, 2]}),
        (batch_rows.PAGE_BEFORE, {**PAGE, "before": 9000}),
        (batch_rows.OWNERS_PAGE_BEFORE, {**PAGE, "before": 9000, "of_owner": "owner-1"}),
        (kept_rows.OWNERS_PLACE[JobState.COMPLETED], {**KEPT, "skipped": 9}),
        (
            kept_rows.OWNERS_BYTES[JobState.COMPLETED],
            {**KEPT, "last_priority": 0, "last_turn": 9},
        ),
        (history_counts.OWNERS_NEWER, {"of_first": 59_000, "of_owner": "owner-1"}),
        (history_counts.TO_COUNT, {"of_first": 8000, "of_end": 9000}),
        (history_counts.FORGET_OWNERS, {"of_first": 8000, "of_end": 9000}),
        (batch_search.END_OF_SLICE, SLICE),
        (batch_search.fitting(batch_search.IN_SLICE, None, WANTED), {**SLICE, "most": 20}),
        (batch_search.fitting(batch_search.IN_SLICE, "owner-1", WANTED), {**SLICE, "most": 20, "of_owner": "owner-1"}),
        (batch_search.fitting(batch_search.AMONG, "owner-1", WANTED), {"sequences": [1, 2], "of_owner": "owner-1"}),
        (batch_search.SHOWING, {"sequences": [1, 2]}),
        (history_index.ROWS, {"after": 8000, "end": 9000, "rows": 64}),
        (history_parts.OF_KEYS, {"keys": [1, 2]}),
        (history_parts.AMONG, {"first_key": 1, "end_key": 2}),
        (batch_rows.OF_ID, {"of_id": "job-3"}),
        (batch_rows.SHOWN_IDS, {"sequences": [1, 2]}),
        (subscriptions.UNDER_WAY_OF_FEW, {"owner": "owner-1", "client": "c"}),
        (subscriptions.IS_ONE_MORE, {"owner": "owner-1", "client": "c"}),
        (subscriptions.NEWEST_ENDED, {"owner": "owner-1", "client": "c", "ended": 9}),
        # What the database itself does for each job that goes.
        (select(schema.subscriptions).where(schema.subscriptions.c.job_id == bindparam("of_job")), {"of_job": "job-3"}),
        (line_rows.RUNNING_OF_OWNERS, {}),
        (queries.OWNERS_RUNNING_COUNT.statement, {"owner": "owner-1"}),
        (nodes.ORPHANS, {"most": 100}),
        (nodes.HELD, {"of_node": "a"}),
        (nodes.WHERE_THEY_ARE, {"ids": ["job-3"]}),
        # An operator's, in the views with zimage's names.
        (text("SELECT * FROM image_generation_tasks WHERE job_id = :of_job"), {"of_job": "job-3"}),
        (text("SELECT * FROM image_generation_tasks WHERE batch_id = :of_id"), {"of_id": "job-3"}),
        (text("SELECT * FROM image_generation_batches WHERE batch_id = :of_id"), {"of_id": "job-3"}),
    ],
)
def test_no_statement_reads_a_whole_table(crowded: PostgresStores, statement: Any, values: dict[str, Any]) -> None:  # noqa: ANN401
    # Given PostgreSQL's plan for the statement, whatever the values
    plan = plan_of(crowded, statement, values)
    # Then it reads none of the tables that grow from end to end
    scans = [step for step in plan if "Seq Scan" in step and " on nodes" not in step]
    assert scans == [], plan


@pytest.mark.parametrize(
    "statement", [line_rows.HEAD, line_rows.HEAD_WITHOUT_SOME, line_claims.CLAIM_FIRST, line_claims.KEEP_FIRST]
)
def test_the_head_of_the_line_is_read_and_not_sorted_out(crowded: PostgresStores, statement: Any) -> None:  # noqa: ANN401
    # Given the plan by which the next job is found
    plan = plan_of(crowded, statement, CLAIM)
    # Then it goes by the indexes of waiting jobs, and no job is read that is not among the first
    index = "ix_jobs_waiting_of_owner" if statement is line_rows.HEAD_WITHOUT_SOME else "ix_jobs_waiting"
    ways = {step.split(" on jobs")[0].split("using ")[-1] for step in plan if " on jobs" in step and "Scan" in step}
    assert index in ways
    assert ways <= {index, "pk_jobs", "ix_jobs_running"}, plan
    if statement in (line_rows.HEAD, line_claims.CLAIM_FIRST):
        assert not any("Sort" in step for step in plan), plan


async def test_claims_and_adds_work_among_many(crowded: PostgresStores) -> None:
    for most in (None, 3):
        job = await crowded.line.claim("tiny", "w", NOW, max_running_of_owner=most)
        assert job is not None
        assert await crowded.line.alike(job, 4, max_running_of_owner=1) != []
    assert (await crowded.jobs.add(a_job(), 40_000)).turn > 0
    assert (await crowded.line.waiting())["tiny"].jobs == 19_999
