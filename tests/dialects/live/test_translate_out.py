"""From the core to live's wire, without a server."""

import itertools
from dataclasses import replace

import pytest

from danqing.core.states import JobState
from danqing.core.types import ArtifactKind, EncodedPicture, JobFailure, Progress, Stage
from danqing.dialects.live.names import file_name
from danqing.dialects.live.translate_out import (
    STAGES,
    from_job,
    from_jobs,
    from_progress,
    states_since,
    to_text,
)
from tests.dialects.live.seed_document import PUSHED
from tests.fakes.domain import a_job, a_request, an_original

P, W, G, C, F, X = (
    JobState.PENDING,
    JobState.PROCESSING,
    JobState.GENERATED,
    JobState.COMPLETED,
    JobState.FAILED,
    JobState.CANCELLED,
)


def unsigned(path: str) -> str:
    return path


@pytest.mark.parametrize(
    ("told", "now", "expected"),
    [
        (P, W, (W,)),
        (P, C, (W, G, C)),
        (W, C, (G, C)),
        (G, C, (C,)),
        (P, F, (F,)),
        (W, X, (X,)),
        (W, P, (P,)),  # its worker was lost
        (G, P, (P,)),
        (W, W, ()),
    ],
)
def test_no_state_on_the_way_is_left_out(told: JobState, now: JobState, expected: tuple[JobState, ...]) -> None:
    assert states_since(told, now) == expected


def test_every_two_states_have_a_way_that_ends_in_the_second() -> None:
    for told, now in itertools.permutations(JobState, 2):
        assert states_since(told, now)[-1] is now


def test_the_documents_step() -> None:
    progress = Progress(stage=Stage.DENOISING, step=4, total_steps=9, elapsed_s=15.0)

    assert to_text(from_progress("abc123...", progress, None)) == to_text_of(PUSHED[2])


def to_text_of(message: object) -> str:
    import json

    return json.dumps(message, separators=(",", ":"))


@pytest.mark.parametrize(
    ("step", "total", "elapsed_s", "figures"),
    [
        (0, 9, 0.0, (0, "00:00", "00:00", "0.00s/it")),
        (9, 9, 33.75, (100, "00:33", "00:00", "3.75s/it")),
        (1, 3, 0.049, (33, "00:00", "00:00", "0.05s/it")),
        (1, 50, 125.0, (2, "02:05", "102:05", "125.00s/it")),
    ],
)
def test_figures(step: int, total: int, elapsed_s: float, figures: tuple[int, str, str, str]) -> None:
    progress = Progress(stage=Stage.UPSCALING, step=step, total_steps=total, elapsed_s=elapsed_s)
    told = from_progress("j", progress, None).progress

    assert (told.percentage, told.elapsed, told.remaining, told.speed) == figures


def test_every_stage_has_a_word() -> None:
    assert STAGES.keys() == set(Stage)


def test_a_preview_is_a_data_url() -> None:
    picture = EncodedPicture(width=1, height=1, media_type="image/jpeg", content=b"abc")
    progress = Progress(stage=Stage.DENOISING, step=1, total_steps=2)

    assert from_progress("j", progress, picture).preview == "data:image/jpeg;base64,YWJj"


def test_a_failed_job_says_why_and_a_cancelled_one_does_not() -> None:
    failure = JobFailure(code="out_of_memory", message="Out of device memory; try a smaller size.")
    failed = from_job(a_job(state=F, failure=failure), request_id="r", sign=unsigned)
    cancelled = from_job(a_job(state=X), request_id=None, sign=unsigned)

    assert failed.model_dump(exclude_unset=True) == {
        "type": "job_status",
        "job_id": "f" * 64,
        "status": "failed",
        "error": failure.message,
        "request_id": "r",
    }
    assert "error" not in cancelled.model_dump(exclude_unset=True)


def test_a_job_that_failed_while_it_was_enlarged_has_its_original() -> None:
    job = a_job(state=F, failure=JobFailure(code="out_of_memory", message="Out of device memory."))
    job = replace(job, artifacts=(an_original(job),))
    name = file_name(job, ArtifactKind.ORIGINAL)
    (line,) = from_jobs([job], request_id=None, sign=unsigned).jobs

    for told in (from_job(job, request_id=None, sign=unsigned), line):
        fields = told.model_dump(exclude_unset=True)
        assert fields["result"] == {"filename": name, "path": f"outputs/{name}"}
        assert fields["error"] == "Out of device memory."


def test_adjustments_are_told_with_the_result() -> None:
    job = a_job(state=C, adjustments=("made at 128x128 and scaled to 64x64",))
    job = replace(job, artifacts=(an_original(job),))
    result = from_job(job, request_id=None, sign=unsigned).model_dump(exclude_unset=True)["result"]

    assert result["adjustments"] == ["made at 128x128 and scaled to 64x64"]
    assert "upscaled_filename" not in result
    assert "url" not in result


def test_addresses_are_told_only_where_a_signature_is_needed() -> None:
    job = a_job(state=C, request=a_request(prompt="x"))
    result = from_job(job, request_id=None, sign=lambda path: f"{path}?signature=s").model_dump(exclude_unset=True)

    name = result["result"]["filename"]
    assert result["result"]["url"] == f"/api/image/{name}?signature=s"


def test_of_equal_requests_the_newest_job_is_listed_once() -> None:
    old, new, other = a_job(state=F), a_job(), a_job(fingerprint="e" * 64)
    jobs = from_jobs([other, new, old], request_id="r", sign=unsigned).jobs

    assert [(job.job_id[0], job.status, job.created_at) for job in jobs] == [
        ("e", P, other.created_at.timestamp()),
        ("f", P, new.created_at.timestamp()),
    ]
