"""How SQLite carries the statements out: each goes by an index, however long the history is."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, select

from danqing.core.batches import BatchFilter
from danqing.store import batch_rows, loading, places, queries, schema, submit_keys, subscriptions
from danqing.store.sqlite import SqliteStores
from danqing.store.turns import TURN
from tests.fakes.domain import NOW
from tests.unit.store.files import plan_of

BY_STATE = "ix_jobs_state_priority_turn_sequence"
BY_OWNER = "ix_jobs_state_owner_priority_turn"
BY_BATCH = "ix_jobs_batch_id_owner_sequence"
BY_FINGERPRINT = "ix_jobs_fingerprint_owner_sequence"
ARTIFACTS_OF = "sqlite_autoindex_artifacts_1"
KEY_OF = "sqlite_autoindex_submit_keys_1"
BATCH_OF = "sqlite_autoindex_batches_1"
WAYS_OF_PREFIX = ["(rowid=?)", f"COVERING INDEX {BY_FINGERPRINT} (fingerprint>? AND fingerprint<?)"]
PREFIX = {"first": "ab", "after": "abg"}
PAGE = {"page_limit": 20, "page_offset": 9980}
CLIENT = {"owner": "a", "client": "b"}
WANTED = BatchFilter(words=("cat",), promising=True)
SLICE = {"before": 9000, "end": 8000, "most": 20}


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
        (queries.PENDING_COUNT, {}, [f"{BY_STATE} (state=?)"]),
        (queries.OWNERS_PENDING_COUNT, {"owner": "a"}, [f"{BY_OWNER} (state=? AND owner=?)"]),
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
            queries.EQUAL_ID_UNDER_WAY,
            {"owner": "a", "fingerprint": "b"},
            [f"{BY_FINGERPRINT} (fingerprint=? AND owner=?)"],
        ),
        (
            queries.EQUAL_ID,
            {"owner": "a", "fingerprint": "b"},
            [
                f"{BY_FINGERPRINT} (fingerprint=? AND owner=?)",
                f"{ARTIFACTS_OF} (job_id=?)",
                f"{ARTIFACTS_OF} (job_id=?)",
            ],
        ),
        (queries.IDS_WITH_FINGERPRINT, PREFIX, WAYS_OF_PREFIX),
        (queries.OWNERS_IDS_WITH_FINGERPRINT, {**PREFIX, "owner": "a"}, WAYS_OF_PREFIX),
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
        (batch_rows.END_OF_SLICE, {"before": 9}, ["COVERING INDEX ix_batches_sequence (sequence<?)"]),
        (
            batch_rows.OWNERS_END_OF_SLICE,
            {"before": 9, "of_owner": "a"},
            ["COVERING INDEX ix_batches_owner_sequence (owner=? AND sequence<?)"],
        ),
        (
            batch_rows.searching(None, WANTED),
            SLICE,
            ["ix_batches_sequence (sequence>? AND sequence<?)", f"{BY_BATCH} (batch_id=? AND owner=? AND sequence>?)"],
        ),
        (
            batch_rows.searching("a", WANTED),
            {**SLICE, "of_owner": "a"},
            [
                "ix_batches_owner_sequence (owner=? AND sequence>? AND sequence<?)",
                f"{BY_BATCH} (batch_id=? AND owner=? AND sequence>?)",
            ],
        ),
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
            subscriptions.OF_CLIENT,
            {**CLIENT, "newest": 9},
            ["ix_subscriptions_owner_client_sequence (owner=? AND client=?)"],
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
