"""What the store knows is read for each scrape, shared, and never waited for long."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
import structlog

from danqing.core.errors import StorageFailure
from danqing.core.shared_store import Waiting
from danqing.core.states import JobState
from danqing.metrics.panel import MetricsPanel
from danqing.metrics.readings import JobReadings, Times
from tests.fakes.domain import NOW
from tests.unit.metrics.reading import value


class Store:
    """Answers when it is let, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.counted = 0
        self.counting_fails = False
        self.counting_ends = asyncio.Event()
        self.counting_ends.set()

    async def unfinished(self) -> Mapping[JobState, int]:
        self.asked += 1
        await self.answers.wait()
        if self.fails:
            raise StorageFailure
        return {state: 0 for state in JobState if not state.is_final} | {JobState.PENDING: 2, JobState.PROCESSING: 5}

    async def waiting(self) -> Mapping[str, Waiting]:
        return {
            "tiny": Waiting(jobs=2, oldest=NOW - timedelta(seconds=90)),
            "gone": Waiting(jobs=1, oldest=NOW - timedelta(seconds=30)),
            "lost": Waiting(jobs=3, oldest=NOW - timedelta(seconds=70)),
        }

    async def counts(self) -> Mapping[JobState, int]:
        self.counted += 1
        await self.counting_ends.wait()
        if self.counting_fails:
            raise StorageFailure
        return dict.fromkeys(JobState, 0) | {JobState.COMPLETED: 100_000}


def failed(page: bytes, part: str) -> float | None:
    return value(page, "danqing_scrape_failed", part=part)


def a_panel(store: Store, **times: float) -> MetricsPanel:
    def clock() -> datetime:
        return NOW

    panel = MetricsPanel(models=["tiny", "idle"])
    panel.watch_jobs(
        JobReadings(
            unfinished=store.unfinished,
            waiting=store.waiting,
            counts=store.counts,
            models=["tiny", "idle"],
            clock=clock,
            times=Times(**times),
        )
    )
    return panel


async def test_depth_and_age_are_told_of_every_model_on_offer_also_of_those_with_nothing_to_do() -> None:
    page = await a_panel(Store()).page()
    assert value(page, "danqing_queue_jobs", model="tiny") == 2
    assert value(page, "danqing_queue_oldest_age_seconds", model="tiny") == 90
    assert value(page, "danqing_queue_jobs", model="idle") == 0
    assert value(page, "danqing_queue_oldest_age_seconds", model="idle") == 0
    assert value(page, "danqing_jobs", state="completed") == 100_000
    assert value(page, "danqing_jobs", state="processing") == 5
    assert (failed(page, "queue"), failed(page, "ended")) == (0, 0)
    # And those that are not on offer any more are told together, as old as the oldest of them
    assert value(page, "danqing_queue_jobs", model="gone") is None
    assert value(page, "danqing_queue_jobs", model="other") == 4
    assert value(page, "danqing_queue_oldest_age_seconds", model="other") == 70


async def test_many_who_ask_at_once_ask_the_store_once() -> None:
    store = Store()
    panel = a_panel(store, fresh_s=3600.0)
    await asyncio.gather(*(panel.page() for _ in range(20)))
    await panel.page()
    assert store.asked == 1


async def test_a_store_that_does_not_answer_holds_nobody_up() -> None:
    # Given a store that does not answer
    store = Store()
    store.answers.clear()
    panel = a_panel(store, fresh_s=3600.0, patience_s=0.0, first_patience_s=0.0)
    panel.jobs.refused("queue_full", 1)
    # When it is asked for
    await panel.page()
    page = await panel.page()
    # Then everything else is told, and that this is missing; and the store is not asked again and again
    assert failed(page, "queue") == 1
    assert value(page, "danqing_queue_jobs", model="tiny") is None
    assert value(page, "danqing_jobs_refused_total", code="queue_full") == 1
    assert store.asked == 1
    # And once it answers, all is there
    store.answers.set()
    await asyncio.sleep(0.01)
    page = await panel.page()
    assert (failed(page, "queue"), value(page, "danqing_queue_jobs", model="tiny")) == (0, 2)
    panel.close()


async def test_a_store_that_fails_is_told_and_what_it_said_last_lasts_for_a_while() -> None:
    store = Store()
    panel = a_panel(store, fresh_s=-1.0, stale_s=1e9)
    assert value(await panel.page(), "danqing_queue_jobs", model="tiny") == 2
    store.fails = True
    with structlog.testing.capture_logs() as lines:
        page = await panel.page()
    assert (failed(page, "queue"), value(page, "danqing_queue_jobs", model="tiny")) == (1, 2)
    assert [line["event"] for line in lines] == ["metrics_not_read"]
    # And not for ever
    assert value(await a_panel(store).page(), "danqing_queue_jobs", model="tiny") is None


async def test_closing_gives_up_what_is_being_read() -> None:
    store = Store()
    store.answers.clear()
    store.counting_ends.clear()
    panel = a_panel(store, patience_s=0.0, first_patience_s=0.0)
    await panel.page()
    readings = [task for task in asyncio.all_tasks() if task.get_name() in ("metrics-queue", "metrics-ended")]
    assert len(readings) == 2
    panel.close()
    await asyncio.wait(readings)
    assert all(reading.cancelled() for reading in readings)


async def test_for_its_first_answer_a_store_has_more_time() -> None:
    # Given a store that opens its connections first
    store = Store()
    store.answers.clear()
    panel = a_panel(store, patience_s=0.0, first_patience_s=60.0)
    # When it is asked for the first time, and answers later than it may afterwards
    page = asyncio.create_task(panel.page())
    while not store.asked:  # noqa: ASYNC110 - a page tells nobody that it waits
        await asyncio.sleep(0)
    store.answers.set()
    # Then nothing has failed
    assert failed(await page, "queue") == 0


async def test_a_store_that_counts_ended_jobs_for_long_tells_all_the_same_what_waits_and_runs() -> None:
    store = Store()
    store.counting_ends.clear()
    panel = a_panel(store, patience_s=0.0, first_patience_s=0.0)
    await panel.page()
    page = await panel.page()
    assert (failed(page, "queue"), failed(page, "ended")) == (0, 1)
    assert value(page, "danqing_queue_jobs", model="tiny") == 2
    assert value(page, "danqing_jobs", state="processing") == 5
    assert value(page, "danqing_jobs", state="completed") is None
    panel.close()


async def test_counting_that_fails_is_a_failure_of_its_own_and_is_not_begun_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("danqing.metrics.readings.PART_OF_TIME", 10**6)  # however long a machine stands still
    # Given a store that takes a while, and fails
    store = Store()
    store.counting_fails = True
    store.counting_ends.clear()
    panel = a_panel(store, fresh_s=-1.0, patience_s=0.0, first_patience_s=0.0)
    await panel.page()
    await asyncio.sleep(0.01)
    store.counting_ends.set()
    await asyncio.sleep(0.01)
    # When it is asked again
    page = await panel.page()
    # Then what waits was read anew, and ended jobs are not counted
    assert (store.asked, store.counted) == (2, 1)
    assert (failed(page, "queue"), failed(page, "ended")) == (0, 1)
    panel.close()
