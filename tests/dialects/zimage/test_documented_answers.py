"""Every JSON answer that the seed document shows comes out of the same jobs, keys in the same order."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from danqing.core.batches import PATIENCE, Batch, BatchState
from danqing.core.callers import LOCAL
from danqing.core.states import JobState
from danqing.core.types import Artifact, ArtifactKind, Attempt, Job, JobFailure, PoolStatus, Progress, Stage
from danqing.dialects.zimage.dialect import zimage
from danqing.dialects.zimage.picture_names import Shelf
from danqing.dialects.zimage.translate_out import (
    BATCH_STATUS,
    ITEM_STATUS,
    from_batch,
    from_batches,
    from_cancelled,
    from_forgotten,
    from_job,
    from_submitted,
    from_uncancellable,
    task_status,
)
from danqing.http.dialect import DialectOptions
from tests.dialects.zimage.seed_document import BATCH_ID, JOB_ID, KEY, TASK_ID, example, said
from tests.fakes.domain import LOST, a_job, a_request, an_original

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
ROOT = ".../outputs/z-image-outputs/"  # where the document's server keeps pictures
SHELF = Shelf(location=lambda name: f"{ROOT}{name}", link=lambda path: path)
METADATA = {"batch_id": "…", "batch_index": 0, "batch_size": 4}

PENDING = a_job(
    id=JOB_ID,
    request=a_request(prompt="a cat sitting on the chair", seed=42),
    created_at=NOON,
    batch_id=BATCH_ID,
    metadata=METADATA,
)
PROCESSING = replace(PENDING, state=JobState.PROCESSING, attempts=(Attempt(number=1, worker="w", started_at=NOON),))
FAILED = replace(PROCESSING, state=JobState.FAILED, failure=JobFailure(code="out_of_memory", message="No memory."))
CANCELLED = replace(PROCESSING, state=JobState.CANCELLED)
STEP = Progress(stage=Stage.DENOISING, step=4, total_steps=9)


def a_preview(job: Job) -> Artifact:
    return replace(an_original(job), kind=ArtifactKind.PREVIEW, name=f"{job.id}.webp", media_type="image/webp")


def finished(job: Job, *, preview: bool = True) -> Job:
    artifacts = (an_original(job), a_preview(job)) if preview else (an_original(job),)
    return replace(job, state=JobState.COMPLETED, artifacts=artifacts, finished_at=NOON)


COMPLETED = finished(PROCESSING)


def told(answer: BaseModel) -> dict[str, Any]:
    return json.loads(answer.model_dump_json(exclude_unset=True))


def task(job: Job, progress: Progress | None = None, *, auth_key: str | None = KEY) -> dict[str, Any]:
    return told(from_job(job, progress=progress, shelf=SHELF, auth_key=auth_key))


def same(actual: object, documented: object) -> None:
    """Equal, and written in the same order of keys."""
    assert actual == documented
    assert json.dumps(actual) == json.dumps(documented)


def with_our_names(documented: object) -> Any:  # noqa: ANN401 - JSON
    """The document writes the same name for every picture: the task's id, abridged."""
    text = json.dumps(documented, ensure_ascii=False)
    text = text.replace("120001_xxx", f"120001_{SECOND_ID}").replace("120000_xxx", f"120000_{TASK_ID}")
    return json.loads(text)


SECOND_ID = "11111111111141118111111111111111"
SECOND = finished(
    replace(
        PROCESSING,
        id="11111111-1111-4111-8111-111111111111",
        created_at=NOON.replace(second=1),
        batch_index=1,
        request=replace(PENDING.request, seed=43),
    )
)


def a_batch(*jobs: Job, size: int = 4) -> Batch:
    return Batch(id=BATCH_ID, owner="local", created_at=NOON, size=size, jobs=jobs)


def full_batch() -> Batch:
    """The document's four successes, of which it shows two."""
    more = [replace(SECOND, id=f"{n}{SECOND.id[1:]}", batch_index=n) for n in (2, 3)]
    return a_batch(COMPLETED, SECOND, *more)


def test_root() -> None:
    assert zimage().root == example("2.1 `GET /`")


def test_health() -> None:
    health = zimage().health
    assert health is not None

    assert health.fields(PoolStatus(), DialectOptions()) == example("2.2 `GET /health`")
    assert health.fields(PoolStatus(), DialectOptions(environment="prod"))["environment"] == "prod"


def test_submitted() -> None:
    same(told(from_submitted(PENDING)), example("3.1", number=1))


def test_success() -> None:
    # Given the document's answer, with the names that it abridges; where files are kept is ours to say
    documented = with_our_names(example("3.2"))
    documented["result"] |= {
        "image_id": TASK_ID,
        "output_path": f"{ROOT}{JOB_ID}.png",
        "preview_output_path": f"{ROOT}{JOB_ID}.webp",
    }

    same(task(COMPLETED), documented)


def test_a_success_without_a_preview_shows_the_picture_itself() -> None:
    answer = task(finished(PROCESSING, preview=False))

    assert answer["image_url"] == f"/generated-images/20250101/120000_{TASK_ID}.png"
    assert answer["result"]["preview_output_path"] is None
    assert answer["result"]["preview_relative_path"] is None


def test_addresses_are_as_the_shelf_links_them() -> None:
    shelf = replace(SHELF, link=lambda path: f"{path}?signed")

    answer = told(from_job(COMPLETED, progress=None, shelf=shelf, auth_key=None))

    assert answer["image_url"] == f"/generated-images/20250101/120000_{TASK_ID}.webp?signed"
    assert answer["result"]["relative_path"] == f"20250101/120000_{TASK_ID}.png"


def test_what_the_pipeline_was_told_is_told_again() -> None:
    request = replace(PENDING.request, cfg_normalization=0.5, cfg_truncation=0.5, max_sequence_length=256)

    result = task(replace(COMPLETED, request=request))["result"]

    assert (result["cfg_normalization"], result["cfg_truncation"], result["max_sequence_length"]) == (0.5, 0.5, 256)


@pytest.mark.parametrize(
    ("strength", "written"), [(None, "null"), (0.0, "false"), (1.0, "true"), (0.25, "0.25"), (2.0, "2.0")]
)
def test_a_switch_is_told_as_a_switch(strength: float | None, written: str) -> None:
    request = replace(PENDING.request, cfg_normalization=strength)

    result = task(replace(COMPLETED, request=request))["result"]

    assert json.dumps(result["cfg_normalization"]) == written


def test_adjustments_come_last_where_there_are_any() -> None:
    result = task(replace(COMPLETED, adjustments=("made at 128x128 and scaled to 1024x1024",)))["result"]

    assert result.popitem() == ("adjustments", ["made at 128x128 and scaled to 1024x1024"])


@pytest.mark.parametrize(
    ("job", "progress", "status", "percent"),
    [
        (PENDING, None, "PENDING", 0),
        (PROCESSING, None, "STARTED", 0),
        (PROCESSING, STEP, "PROGRESS", 44),
        (PROCESSING, replace(STEP, stage=Stage.UPSCALING, step=0), "PROGRESS", 100),
        (replace(COMPLETED, state=JobState.GENERATED), STEP, "PROGRESS", 100),
        (COMPLETED, None, "SUCCESS", 100),
        (FAILED, None, "FAILURE", None),
        (replace(PENDING, attempts=(replace(PROCESSING.attempts[0], failure=LOST),)), None, "RETRY", 0),
        (CANCELLED, None, "REVOKED", None),
    ],
)
def test_status_words(job: Job, progress: Progress | None, status: str, percent: int | None) -> None:
    answer = task(job, progress)

    assert (answer["status"], answer["progress"]) == (status, percent)
    assert said(f'"{status}"')
    assert (answer["result"] is not None) == (status == "SUCCESS") == (answer["image_url"] is not None)
    assert (answer["error"] is not None) == (status in ("FAILURE", "REVOKED"))
    assert list(answer) == list(example("3.2"))


def test_a_failure_says_why_and_what_to_do() -> None:
    answer = task(FAILED)

    assert (answer["error_code"], answer["error"]) == (
        "OUT_OF_MEMORY",
        "The device has not enough memory for this image.",
    )
    assert answer["error_hint"] == "Choose a smaller width and height."


def test_cancelled() -> None:
    same(told(from_cancelled(CANCELLED)), example("3.3"))


@pytest.mark.parametrize(
    ("job", "status", "message"),
    [
        (COMPLETED, "SUCCESS", "Task has already succeeded and cannot be cancelled"),
        (FAILED, "FAILURE", "Task has already failed and cannot be cancelled"),
        (CANCELLED, "REVOKED", "Task has already been cancelled"),
        (
            replace(COMPLETED, state=JobState.GENERATED),
            "PROGRESS",
            "The image is made and being stored; the task cannot be cancelled any more",
        ),
    ],
)
def test_what_cannot_be_cancelled_says_why(job: Job, status: str, message: str) -> None:
    assert told(from_uncancellable(job)) == {"task_id": TASK_ID, "status": status, "message": message}


def test_history() -> None:
    same(
        [told(one) for one in from_batches([full_batch()], SHELF, now=NOON, caller=LOCAL)],
        with_our_names(example("4.1")),
    )


def test_batch() -> None:
    # Given the document's answer, whose second image lacks two keys and has its id abridged
    documented = with_our_names(example("4.2"))
    documented["items"][1] |= {"task_id": SECOND_ID, "error_code": None, "error_hint": None}

    answer = told(from_batch(full_batch(), SHELF, now=NOON, caller=LOCAL))

    answer["items"] = answer["items"][:2]
    same(answer, documented)


def test_deleted() -> None:
    same(told(from_forgotten(BATCH_ID)), example("4.3"))


@pytest.mark.parametrize("state", BatchState)
def test_a_batchs_status_is_the_documents(state: BatchState) -> None:
    word = BATCH_STATUS[state]

    pair = {"SUCCESS": "`success` / `partial`", "FAILURE": "`error` / `cancelled`", "PENDING": "`pending` / `running`"}
    assert f"`{state}`" in pair[word]
    assert said(f'{pair[word]} → `"{word}"`')


@pytest.mark.parametrize("state", JobState)
def test_an_images_status_is_one_of_the_documents_five(state: JobState) -> None:
    assert said("`pending` / `running` / `success` / `error` / `cancelled`")
    assert ITEM_STATUS[state] in {"pending", "running", "success", "error", "cancelled"}


@pytest.mark.parametrize("state", JobState)
def test_a_tasks_status_is_one_of_the_documents_seven(state: JobState) -> None:
    assert said(f'"{task_status(replace(PROCESSING, state=state), None)}"')


def test_failed_and_cancelled_images_count_as_failed() -> None:
    # Given a batch of five of which four have come, the first without a picture
    fourth = replace(SECOND, batch_index=3, state=JobState.PENDING, artifacts=())
    batch = a_batch(FAILED, SECOND, replace(CANCELLED, batch_index=2), fourth, size=5)

    (summary,) = (told(one) for one in from_batches([batch], SHELF, now=NOON, caller=LOCAL))
    items = told(from_batch(batch, SHELF, now=NOON, caller=LOCAL))["items"]

    # Then the numbers add up, and the picture shown is the first that there is
    assert (summary["batch_size"], summary["success_count"], summary["failed_count"]) == (5, 1, 2)
    assert summary["status"] == "PENDING"
    assert summary["relative_path"] == f"20250101/120001_{SECOND_ID}.png"
    assert summary["image_url"] == f"/generated-images/20250101/120001_{SECOND_ID}.webp"
    assert (summary["seed"], summary["base_seed"]) == (42, 42)
    assert [item["status"] for item in items] == ["error", "success", "cancelled", "pending"]
    assert [item["error_code"] for item in items] == ["OUT_OF_MEMORY", None, "CANCELLED", None]
    assert [item["image_url"] is None for item in items] == [True, False, True, True]


def test_a_batch_without_pictures_has_no_address() -> None:
    for batch, status in ((a_batch(FAILED), "PENDING"), (a_batch(FAILED, size=1), "FAILURE")):
        (summary,) = (told(one) for one in from_batches([batch], SHELF, now=NOON, caller=LOCAL))

        assert (summary["status"], summary["relative_path"], summary["image_url"]) == (status, None, None)


def test_images_that_do_not_come_are_not_waited_for_for_ever() -> None:
    now = NOON + PATIENCE

    (summary,) = (told(one) for one in from_batches([a_batch(COMPLETED)], SHELF, now=now, caller=LOCAL))

    assert (summary["status"], summary["batch_size"], summary["success_count"]) == ("SUCCESS", 4, 1)


def test_times_have_microseconds_and_an_offset_whatever_they_are() -> None:
    job = replace(COMPLETED, created_at=NOON.replace(microsecond=0))

    assert task(job)["result"]["created_at"] == "2025-01-01T12:00:00.000000+00:00"
