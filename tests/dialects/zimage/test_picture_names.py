"""Paths of pictures: made from jobs, and read back only if they are written so."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from danqing.core.types import ArtifactKind
from danqing.dialects.zimage.picture_names import job_id_of, parse, relative_path, task_id_of
from tests.dialects.zimage.seed_document import JOB_ID, TASK_ID
from tests.fakes.domain import a_job

JOB = a_job(id=JOB_ID, created_at=datetime(2025, 1, 1, 12, 0, 0, 999_999, tzinfo=UTC))


@pytest.mark.parametrize(("kind", "suffix"), [(ArtifactKind.ORIGINAL, "png"), (ArtifactKind.PREVIEW, "webp")])
def test_there_and_back(kind: ArtifactKind, suffix: str) -> None:
    path = relative_path(JOB, kind)

    assert path == f"20250101/120000_{TASK_ID}.{suffix}"
    assert parse(path) == (JOB_ID, kind)


def test_the_time_is_utc_wherever_it_was_taken() -> None:
    there = a_job(id=JOB_ID, created_at=JOB.created_at.astimezone(timezone(timedelta(hours=14))))

    assert relative_path(there, ArtifactKind.ORIGINAL) == relative_path(JOB, ArtifactKind.ORIGINAL)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "20250101",
        f"20250101/120000_{TASK_ID}.jpg",
        f"20250101/120000_{TASK_ID}.png/",
        f"20250101/120000_{TASK_ID}.png\n",
        f"20250101/120000_{TASK_ID.upper()}.png",
        f"20250101/120000_{JOB_ID}.png",
        f"../20250101/120000_{TASK_ID}.png",
        f"20250101//120000_{TASK_ID}.png",
        f"２０２５０１０１/120000_{TASK_ID}.png",
    ],
)
def test_other_paths_are_nobodys(path: str) -> None:
    assert parse(path) is None


def test_task_ids() -> None:
    assert task_id_of(JOB) == TASK_ID
    assert job_id_of(TASK_ID) == JOB_ID
    for other in ("", JOB_ID, TASK_ID.upper(), TASK_ID[1:], f"{TASK_ID}0", f"{TASK_ID}\n", f"{{{TASK_ID}}}", "x" * 32):
        assert job_id_of(other) is None
