"""How SQLite carries the statements out: each goes by an index, however long the history is."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, select

from danqing.core.batches import BatchFilter
from danqing.core.states import JobState
from danqing.store import (
    batch_rows,
    batch_search,
    history_counts,
    history_index,
    history_parts,
    kept_rows,
    loading,
    places,
    queries,
    schema,
    submit_keys,
    subscriptions,
)
from danqing.store.sqlite import SqliteStores
from danqing.store.turns import TURN
from tests.fakes.domain import NOW
from tests.unit.store.files import plan_of

BY_STATE = "ix_jobs_state_priority_turn_sequence"
BY_OWNER = "ix_jobs_state_owner_priority_turn"
BY_FINGERPRINT = "ix_jobs_fingerprint_owner_sequence"
ARTIFACTS_OF = "sqlite_autoindex_artifacts_1"
KEY_OF = "sqlite_autoindex_submit_keys_1"
BATCH_OF = "sqlite_autoindex_batches_1"
WAYS_OF_PREFIX = ["(rowid=?)", f"COVERING INDEX {BY_FINGERPRINT} (fingerprint>? AND fingerprint<?)"]
PREFIX = {"first": "ab", "after": "abg"}
PAGE = {"page_limit": 20, "page_offset": 9980}
CLIENT = {"owner": "a", "client": "b"}
WANTED = BatchFilter(words=("cat",), promising=True)
SLICE = {"before": 9000, "end": 8000}
LEAF = {"of_first": 8000, "of_end": 9000}
KEPT = {"of_owner": "a", "after_priority": 0, "after_turn": 1}
BY_SEQUENCE = ["INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]


@pytest.mark.parametrize(
    ("statement", "values", "ways"),
    [
        (
            places.BEFORE,
            {"priority": 0, "turn": 1, "sequence": 1},
            [
                f"{BY_STATE} (state=? AND priority>?)",
                "SCAN anon_2",
                f"{BY_STATE} (state=? AND priority=? AND turn<?)",
                "SCAN anon_3",
                f"{BY_STATE} (state=? AND priority=? AND turn=? AND sequence<?)",
                "SCAN anon_4",
            ],
        ),
        (places.MEASURE, {}, [f"COVERING INDEX {BY_STATE} (state=?)", "SCAN (subquery-3)", "SCAN anon_1"]),
        (queries.UNFINISHED_IDS, {}, [f"{BY_STATE} (state=?)"]),
        (queries.PENDING_COUNT.statement, {}, [f"{BY_STATE} (state=?)"]),
        (queries.OWNERS_PENDING_COUNT.statement, {"owner": "a"}, [f"{BY_OWNER} (state=? AND owner=?)"]),
        (
            select(TURN),
            {"of_owner": "a", "of_priority": 0, "of_work": 1},
            [
                f"{BY_OWNER} (state=? AND owner=? AND priority=?)",
                f"{BY_OWNER} (state=? AND owner=? AND priority=?)",
                *[f"{BY_STATE} (state=? AND priority=?)"] * 4,  # two of them twice, in one expression
                "SEARCH anon_2",  # these
            ],
        ),
        (submit_keys.FIND, {"of_owner": "a", "of_key": "b"}, [f"{KEY_OF} (owner=? AND key=?)"]),
        (submit_keys.OUTLIVED, {"now": NOW}, ["ix_submit_keys_counts_until (counts_until<?)"]),
        (queries.COUNTS, {}, [f"COVERING INDEX {BY_STATE}"]),
        (queries.KNOWN_IDS, {"ids": ["a", "b"]}, ["sqlite_autoindex_jobs_1 (id=?)"]),
        (queries.ARTIFACT_NAMES, {"ids": ["a", "b"]}, [f"{ARTIFACTS_OF} (job_id=?)"]),
        (
            queries.EQUAL_ID_UNDER_WAY.statement,
            {"owner": "a", "fingerprint": "b"},
            [f"{BY_FINGERPRINT} (fingerprint=? AND owner=?)"],
        ),
        (
            queries.EQUAL_ID.statement,
            {"owner": "a", "fingerprint": "b"},
            [
                f"{BY_FINGERPRINT} (fingerprint=? AND owner=?)",
                f"{ARTIFACTS_OF} (job_id=?)",
                f"{ARTIFACTS_OF} (job_id=?)",
            ],
        ),
        (queries.IDS_WITH_FINGERPRINT, PREFIX, WAYS_OF_PREFIX),
        (queries.OWNERS_IDS_WITH_FINGERPRINT, {**PREFIX, "owner": "a"}, WAYS_OF_PREFIX),
        (loading.JOB.statement, {"of_job": "a"}, ["sqlite_autoindex_jobs_1 (id=?)"]),
        (loading.ITS_ATTEMPTS.statement, {"of_job": "a"}, ["sqlite_autoindex_attempts_1 (job_id=?)"]),
        (loading.ITS_ARTIFACTS.statement, {"of_job": "a"}, [f"{ARTIFACTS_OF} (job_id=?)"]),
        (loading.JOBS, {"ids": ["a", "b"]}, ["sqlite_autoindex_jobs_1 (id=?)"]),
        (loading.ATTEMPTS, {"ids": ["a", "b"]}, ["sqlite_autoindex_attempts_1 (job_id=?)"]),
        (loading.ARTIFACTS, {"ids": ["a", "b"]}, [f"{ARTIFACTS_OF} (job_id=?)"]),
        (batch_rows.PAGE, PAGE, ["COVERING INDEX ix_batches_sequence"]),
        (
            batch_rows.OWNERS_PAGE,
            {**PAGE, "of_owner": "a"},
            ["COVERING INDEX ix_batches_owner_sequence (owner=?)"],
        ),
        (batch_rows.OF_SEQUENCES, {"sequences": [1, 2]}, ["ix_batches_sequence (sequence=?)"]),
        (batch_rows.PAGE_BEFORE, {**PAGE, "before": 9}, ["COVERING INDEX ix_batches_sequence (sequence<?)"]),
        (
            batch_rows.OWNERS_PAGE_BEFORE,
            {**PAGE, "before": 9, "of_owner": "a"},
            ["COVERING INDEX ix_batches_owner_sequence (owner=? AND sequence<?)"],
        ),
        (history_counts.NEWER, {"of_first": 9}, ["COVERING INDEX ix_batches_sequence (sequence>?)"]),
        (
            history_counts.OWNERS_NEWER,
            {"of_first": 9, "of_owner": "a"},
            ["COVERING INDEX ix_batches_owner_sequence (owner=? AND sequence>?)"],
        ),
        (
            kept_rows.OWNERS_PLACE[JobState.COMPLETED],
            {**KEPT, "skipped": 9},
            [f"COVERING INDEX {BY_OWNER} (state=? AND owner=? AND (priority,turn)>(?,?))"],
        ),
        (
            kept_rows.OWNERS_BYTES[JobState.COMPLETED],
            {**KEPT, "last_priority": 0, "last_turn": 9},
            [
                f"{BY_OWNER} (state=? AND owner=? AND (priority,turn)>(?,?) AND (priority,turn)<(?,?))",
                f"{ARTIFACTS_OF} (job_id=?)",
            ],
        ),
        (history_counts.COUNTS, {}, ["SCAN history_counts"]),  # a row for thousands of batches
        (
            history_counts.OWNERS_COUNTS,
            {"of_owner": "a"},
            ["SCAN history_counts", "sqlite_autoindex_owner_history_counts_1 (owner=? AND first=?) LEFT-JOIN"],
        ),
        (history_counts.TO_COUNT, LEAF, ["ix_batches_sequence (sequence>? AND sequence<?)"]),
        (batch_search.END_OF_SLICE, SLICE, BY_SEQUENCE),
        (batch_search.fitting(batch_search.IN_SLICE, None, WANTED), {**SLICE, "most": 20}, BY_SEQUENCE),
        (
            batch_search.fitting(batch_search.IN_SLICE, "a", WANTED),
            {**SLICE, "most": 20, "of_owner": "a"},
            BY_SEQUENCE,
        ),
        (
            batch_search.fitting(batch_search.AMONG, "a", WANTED),
            {"sequences": [1, 2], "of_owner": "a"},
            ["INTEGER PRIMARY KEY (rowid=?)"],
        ),
        (
            batch_search.SHOWING,
            {"sequences": [1, 2]},
            ["INTEGER PRIMARY KEY (rowid=?)", f"{BATCH_OF} (id=? AND owner=?)"],
        ),
        (history_index.ROWS, {"after": 8000, "end": 9000, "rows": 64}, BY_SEQUENCE),
        (history_parts.OLDER, {"before": 9000, "most": 32}, ["ix_history_parts_first_size (first<?)"]),
        (history_parts.OF_KEYS, {"keys": [1, 2]}, ["INTEGER PRIMARY KEY (rowid=?)"]),
        (history_parts.AMONG, {"first_key": 1, "end_key": 2}, BY_SEQUENCE),
        (batch_rows.OF_ID, {"of_id": "a"}, [f"{BATCH_OF} (id=?)"]),
        (batch_rows.OWNERS_OF_ID, {"of_id": "a", "of_owner": "b"}, [f"{BATCH_OF} (id=? AND owner=?)"]),
        (
            batch_rows.SHOWN_IDS,
            {"sequences": [1, 2]},
            [
                "ix_batches_sequence (sequence=?)",
                "ix_jobs_batch_id_owner_sequence (batch_id=? AND owner=? AND sequence>?)",
            ],
        ),
        (
            subscriptions.UNDER_WAY_OF_FEW,
            CLIENT,
            [
                "ix_subscriptions_owner_client_sequence (owner=? AND client=?)",
                "SCAN anon_1",
                "sqlite_autoindex_jobs_1 (id=?)",
            ],
        ),
        (
            subscriptions.IS_ONE_MORE,
            CLIENT,
            ["ix_subscriptions_owner_client_sequence (owner=? AND client=?)"],
        ),
        (
            subscriptions.UNDER_WAY_OF_MANY,
            CLIENT,
            [
                "ix_subscriptions_owner_client_job_id (owner=? AND client=? AND job_id=?)",
                f"{BY_STATE} (state=?)",
            ],
        ),
        (
            subscriptions.NEWEST_ENDED,
            {**CLIENT, "ended": 9},
            [
                "ix_subscriptions_owner_client_sequence (owner=? AND client=?)",
                "sqlite_autoindex_jobs_1 (id=?)",
            ],
        ),
        # What the database itself does for each job that goes.
        (
            select(schema.subscriptions.c.sequence).where(schema.subscriptions.c.job_id == "c"),
            {},
            ["COVERING INDEX ix_subscriptions_job_id (job_id=?)"],
        ),
        (
            subscriptions.FIND,
            {**CLIENT, "job_id": "c"},
            ["ix_subscriptions_owner_client_job_id (owner=? AND client=? AND job_id=?)"],
        ),
    ],
)
async def test_no_query_reads_the_whole_history(
    path: Path, stores: SqliteStores, statement: Select[Any], values: dict[str, object], ways: list[str]
) -> None:
    # Given SQLite's plan for the statement
    plan = plan_of(path, statement, values)
    # Then it goes by these indices and looks into nothing else
    looks = [step for step in plan if step.startswith(("SEARCH", "SCAN")) and step != "SCAN CONSTANT ROW"]
    assert len(looks) == len(ways)
    assert all(look.endswith(way) for look, way in zip(looks, ways, strict=True)), plan
