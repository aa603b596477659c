"""Previews, from real worker processes to watchers: only where they are wanted."""

import asyncio
import os
import signal
from pathlib import Path

from danqing.core.events import PreviewMade
from danqing.core.states import JobState
from tests.zoo.engines import STEPS
from tests.zoo.house import DEADLINE_S, a_house, previews, steps, until

EVERY_STEP_BUT_THE_LAST = list(range(1, STEPS))


async def test_previews_are_made_for_those_who_want_them(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given three jobs that wait, one whose watcher wants previews, one whose watcher does not, and one whose engine
        # makes every step twice
        await house.under_way(await house.submit("waits at the gate"))
        jobs = [await house.submit(prompt) for prompt in ("a tea pot", "a tea pot", "makes every step twice")]
        watching = [
            asyncio.create_task(house.history(job, previews=wanted))
            for job, wanted in zip(jobs, (True, False, True), strict=True)
        ]
        wanting = (jobs[0].id, jobs[2].id)
        await until(lambda: all(map(house.supervisor.wants_previews, wanting)), "the watchers")
        # When they are made
        house.zoo.open_gate("gate")
        wanted, not_wanted, twice = await asyncio.gather(*watching)
        # Then the one watcher is told each preview before its step, and the other none
        told = [event.step if isinstance(event, PreviewMade) else -step for event in wanted for step in _step(event)]
        assert told == [1, -1, 2, -2, 3, -3, -4]
        assert previews(not_wanted) == []
        # And nobody is told one twice
        assert previews(twice) == EVERY_STEP_BUT_THE_LAST
        assert steps(twice) == list(range(1, STEPS + 1))
        # And they are what the engine made
        pictures = [event.picture for event in wanted if isinstance(event, PreviewMade)]
        assert all(picture.media_type == "image/jpeg" and picture.width == 16 for picture in pictures)
        assert len({picture.content for picture in pictures}) == len(pictures)


async def test_previews_of_a_running_job_come_from_the_next_step_on(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a job that has made its first step
        job = await house.submit("waits for a watcher")
        await house.under_way(job)
        # When somebody wants to see it
        history = await house.history(job, previews=True)
        # Then he is told the previews of the later ones
        assert previews(history) == EVERY_STEP_BUT_THE_LAST[1:]


async def test_the_next_attempt_makes_previews_too(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a running job that somebody wants to see
        job = await house.submit("waits at the gate")
        await house.under_way(job)
        watching = asyncio.create_task(house.history(job, previews=True))
        await until(lambda: house.supervisor.wants_previews(job.id), "the watcher")
        # When its worker is killed
        pid = house.worker().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: house.worker().pid not in (pid, None), "a new process")
        house.zoo.open_gate("gate")
        # Then he is told the previews of the second attempt
        assert previews(await watching) == EVERY_STEP_BUT_THE_LAST


async def test_nothing_is_remembered_of_jobs_that_have_ended(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a running job and waiting ones, all of which somebody wants to see
        running = await house.submit("waits at the gate")
        await house.under_way(running)
        waiting, failing, made = [await house.submit(prompt) for prompt in ("a tea pot", "breaks", "a tea pot")]
        jobs = [running, waiting, failing, made]
        for job in jobs:
            await house.supervisor.send_previews(job.id)
            await house.supervisor.send_previews(job.id)
        assert all(house.supervisor.wants_previews(job.id) for job in jobs)
        # When two are cancelled, one fails and one is made
        for job in (running, waiting):
            await house.studio.cancel(job.id)
            assert not house.supervisor.wants_previews(job.id)
        ends = [await house.ended(job) for job in (failing, made)]
        assert [job.state for job in ends] == [JobState.FAILED, JobState.COMPLETED]
        # Then nobody wants to see them any more
        await until(lambda: not any(house.supervisor.wants_previews(job.id) for job in jobs), "all forgotten")


async def test_a_wish_for_a_job_that_nobody_knows_does_no_harm(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        await house.supervisor.send_previews("nobody's")
        done = await asyncio.wait_for(house.ended(await house.submit("a tea pot")), DEADLINE_S)
        assert done.state is JobState.COMPLETED


def _step(event: object) -> list[int]:
    """The step of an event that has one."""
    match event:
        case PreviewMade():
            return [event.step]
        case _:
            return steps([event])  # type: ignore[list-item]
