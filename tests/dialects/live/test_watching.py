"""One job for one connection: nothing is told before it is asked for, and then everything, in order."""

import asyncio
import json
from dataclasses import replace

from danqing.core.errors import JobNotFound
from danqing.core.states import JobState
from danqing.core.types import Attempt, EncodedPicture, Progress, Stage
from danqing.dialects.live.letters import JobNews, Step
from danqing.dialects.live.outbox import Outbox, OutboxLimits
from danqing.dialects.live.watching import MAX_HELD, Watch
from tests.fakes.domain import a_job

PICTURE = EncodedPicture(width=1, height=1, media_type="image/jpeg", content=b"abc")
JOB = a_job()
ATTEMPT = Attempt(number=1, worker="w", started_at=JOB.created_at)
PROCESSING, CANCELLED = JobState.PROCESSING, JobState.CANCELLED


def unsigned(path: str) -> str:
    return path


def step(number: int, *, stage: Stage = Stage.DENOISING, preview: EncodedPicture | None = None) -> Step:
    return Step(job_id="j", progress=Progress(stage=stage, step=number, total_steps=99), preview=preview)


def became(state: JobState) -> JobNews:
    """The job, in its first attempt."""
    return JobNews(replace(JOB, state=state, attempts=(ATTEMPT,)), unsigned)


class Told:
    """A watch, and what has come out of it."""

    def __init__(self) -> None:
        self._outbox = Outbox(OutboxLimits(steps=2 * MAX_HELD))
        self.over_with: list[Exception | None] = []
        self.watch = Watch(JOB, outbox=self._outbox, sign=unsigned, when_over=self._over)

    def _over(self, watch: Watch, failure: Exception | None) -> None:
        assert watch is self.watch
        self.over_with.append(failure)

    async def so_far(self) -> list[str | int | tuple[str, str]]:
        """Since the last time: numbers of steps; of states, with the request id if there is one, the name."""
        told: list[str | int | tuple[str, str]] = []
        while True:
            taking = asyncio.ensure_future(self._outbox.take())
            await asyncio.sleep(0)
            if not taking.done():
                taking.cancel()
                return told
            message = json.loads(taking.result().text)
            if message["type"] == "job_progress":
                told.append(message["progress"]["current_step"])
            else:
                told.append((message["status"], message["request_id"]) if message["request_id"] else message["status"])


async def test_what_comes_before_it_is_asked_for_is_told_after_it() -> None:
    told = Told()
    for news in (became(PROCESSING), step(1), step(2), became(CANCELLED)):
        told.watch.take(news)
    told.watch.over(None)
    assert (await told.so_far(), told.over_with) == ([], [])

    told.watch.tell("r1")

    assert await told.so_far() == [("pending", "r1"), ("processing", "r1"), 1, 2, ("cancelled", "r1")]
    assert told.over_with == [None]


async def test_of_the_steps_before_that_the_newest_are_kept_and_every_state() -> None:
    told = Told()
    told.watch.take(became(PROCESSING))
    for number in range(1, MAX_HELD + 4):
        told.watch.take(step(number))
    told.watch.take(became(CANCELLED))

    told.watch.tell(None)

    assert await told.so_far() == ["pending", "processing", *range(4, MAX_HELD + 4), "cancelled"]


async def test_states_are_told_under_every_id_and_steps_once() -> None:
    told = Told()
    told.watch.tell("r1")
    told.watch.take(became(PROCESSING))
    told.watch.tell("r2")
    told.watch.take(step(1))
    told.watch.take(became(CANCELLED))

    assert told.watch.request_ids == ("r1", "r2")
    assert await told.so_far() == [
        ("pending", "r1"),
        ("processing", "r1"),
        ("processing", "r2"),
        1,
        ("cancelled", "r1"),
        ("cancelled", "r2"),
    ]


async def test_what_is_older_than_what_was_told_is_no_news() -> None:
    told = Told()
    told.watch.tell(None)
    told.watch.take(step(1))  # of before the job began
    told.watch.take(became(PROCESSING))
    told.watch.take(became(PROCESSING))
    told.watch.take(step(1, stage=Stage.UPSCALING))
    told.watch.take(became(JobState.GENERATED))
    told.watch.take(step(2))
    told.watch.take(became(PROCESSING))
    told.watch.take(step(3, stage=Stage.UPSCALING))

    assert await told.so_far() == ["pending", "processing", 1, "generated", 3]


async def test_previews_are_shown_to_who_wants_them() -> None:
    outbox = Outbox(OutboxLimits())
    watch = Watch(JOB, outbox=outbox, sign=unsigned)
    watch.tell(None)
    watch.take(became(PROCESSING))
    for _ in range(2):
        await outbox.take()

    watch.take(step(1, preview=PICTURE))
    watch.previews = True
    watch.take(step(2, preview=PICTURE))

    assert [await outbox.take(), await outbox.take()] == [step(1), step(2, preview=PICTURE)]


async def test_why_it_is_over_is_told_once_it_was_asked_for() -> None:
    told, failure = Told(), JobNotFound()
    told.watch.over(failure)
    assert told.over_with == []

    told.watch.tell(None)

    assert told.over_with == [failure]
