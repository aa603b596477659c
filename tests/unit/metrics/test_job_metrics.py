"""What happens to jobs is counted, and whatever clients write, no label has it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from danqing.core.states import JobState
from danqing.core.types import Attempt, Job, JobFailure, Mode
from danqing.core.witness import StageTimes
from danqing.metrics.panel import MetricsPanel
from tests.fakes.domain import LOST, NOW, a_job, a_request, an_enlarged, an_original
from tests.unit.metrics.reading import series, value


def running(**changes: object) -> Job:
    """A job that waited for 3 seconds before its first attempt."""
    began = NOW + timedelta(seconds=3)
    attempt = Attempt(number=1, worker="w1", started_at=began)
    job = a_job(created_at=NOW, started_at=began, attempts=(attempt,), state=JobState.PROCESSING)
    return replace(job, **changes)  # type: ignore[arg-type]


async def test_a_jobs_life_is_told_in_counts_and_seconds() -> None:
    panel = MetricsPanel(models=["tiny"])
    job = running()
    # When a job is accepted, begun together with another one, and completed with two pictures
    panel.jobs.accepted(job)
    panel.jobs.began([job, running()], "w1")
    for _ in range(9):
        panel.jobs.step_done(job)
    done = replace(
        job,
        state=JobState.COMPLETED,
        finished_at=NOW + timedelta(seconds=10),
        artifacts=(an_original(job), an_enlarged(job)),
    )
    panel.jobs.ended(done, StageTimes(denoise_s=4.0, finish_s=0.5, upscale_s=2.0))
    page = await panel.page()
    # Then all of it can be read
    assert value(page, "danqing_jobs_accepted_total", model="tiny", mode="text2img") == 1
    assert value(page, "danqing_jobs_ended_total", model="tiny", mode="text2img", state="completed") == 1
    assert value(page, "danqing_steps_total", model="tiny") == 9
    assert value(page, "danqing_batch_jobs_sum", model="tiny") == 2
    assert value(page, "danqing_pictures_total", model="tiny", kind="original") == 1
    assert value(page, "danqing_pictures_total", model="tiny", kind="upscaled") == 1
    assert value(page, "danqing_job_stage_seconds_sum", model="tiny", stage="queue") == 6
    assert value(page, "danqing_job_stage_seconds_sum", model="tiny", stage="denoise") == 4
    assert value(page, "danqing_job_stage_seconds_sum", model="tiny", stage="finish") == 0.5
    assert value(page, "danqing_job_stage_seconds_sum", model="tiny", stage="upscale") == 2
    assert value(page, "danqing_job_seconds_sum", model="tiny") == 10


async def test_only_what_can_end_is_counted_from_the_start() -> None:
    page = await MetricsPanel(models=["tiny", "upscaler"]).page()
    ended = [dict(labels) for name, labels in series(page) if name == "danqing_jobs_ended_total"]
    told = {(labels["model"], labels["mode"]) for labels in ended}
    of_models = {("tiny", mode.value) for mode in Mode if mode is not Mode.UPSCALE}
    assert told == {*of_models, ("upscaler", "upscale")}


async def test_what_ends_badly_is_told_by_its_code() -> None:
    panel = MetricsPanel(models=["tiny"])
    job = running()
    panel.jobs.attempt_failed(job, LOST, again=True)
    panel.jobs.ended(replace(job, state=JobState.FAILED))
    panel.jobs.dropped(job.id)
    panel.jobs.refused("queue_full", 3)
    panel.jobs.joined(job, "equal")
    page = await panel.page()
    assert value(page, "danqing_attempts_failed_total", model="tiny", code="worker_lost", again="true") == 1
    assert value(page, "danqing_jobs_ended_total", model="tiny", mode="text2img", state="failed") == 1
    assert value(page, "danqing_attempts_dropped_total") == 1
    assert value(page, "danqing_jobs_refused_total", code="queue_full") == 3
    assert value(page, "danqing_jobs_joined_total", model="tiny", reason="equal") == 1
    # And no picture, nor a time of one, that there is not
    assert value(page, "danqing_job_seconds_count", model="tiny") is None


async def test_the_first_failure_shows_for_it_was_0_before() -> None:
    page = await MetricsPanel(models=["tiny"]).page()
    assert value(page, "danqing_jobs_ended_total", model="tiny", mode="edit", state="failed") == 0


async def test_waiting_counts_once_not_for_every_attempt() -> None:
    panel = MetricsPanel(models=["tiny"])
    job = running()
    second = replace(job, attempts=(*job.attempts, Attempt(number=2, worker="w1", started_at=NOW)))
    panel.jobs.began([second], "w1")
    page = await panel.page()
    assert value(page, "danqing_job_stage_seconds_count", model="tiny", stage="queue") is None
    assert value(page, "danqing_batch_jobs_count", model="tiny") == 1


async def test_sums_never_fall_though_the_clocks_of_two_machines_differ() -> None:
    # Given a job that, by their clocks, was begun and completed before it was accepted
    panel = MetricsPanel(models=["tiny"])
    job = running(created_at=NOW + timedelta(minutes=1))
    panel.jobs.began([job], "w1")
    panel.jobs.ended(replace(job, state=JobState.COMPLETED, finished_at=NOW))
    # Then it took no time, and no less than that
    page = await panel.page()
    assert value(page, "danqing_job_stage_seconds_sum", model="tiny", stage="queue") == 0
    assert value(page, "danqing_job_seconds_sum", model="tiny") == 0


@pytest.mark.parametrize("text", ['a"b\nc{d="e"} 1\n', "\udc80", "x" * 10_000])
async def test_however_many_texts_clients_invent_the_page_does_not_grow(text: str) -> None:
    # Given the page after one job
    panel = MetricsPanel(models=["tiny"])

    def live(number: int, words: str) -> None:
        request = a_request(prompt=words, model=f"{words}{number}" if number else "tiny")
        job = running(request=request, owner=f"{words}{number}", batch_id=words, metadata={words: words})
        panel.jobs.accepted(job)
        panel.jobs.joined(job, "repeated")
        panel.jobs.began([job], words)
        panel.jobs.attempt_failed(job, JobFailure(code=f"{words}{number}", message=words), again=False)
        panel.jobs.refused(f"{words}{number}", 1)
        panel.jobs.ended(replace(job, state=JobState.FAILED))

    live(0, text)
    live(1, text)
    size = len(series(await panel.page()))
    # When many more come, each with other words in every place that a client, or an old row, can fill
    for number in range(2, 200):
        live(number, text)
    page = await panel.page()
    # Then there are no more series, and none has any of the words
    assert len(series(page)) == size
    assert text.encode("utf-8", "replace")[:20] not in page
    assert value(page, "danqing_jobs_accepted_total", model="other", mode="text2img") == 199
