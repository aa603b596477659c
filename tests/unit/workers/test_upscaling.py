"""Pictures that are enlarged and not made, through real worker processes, with everything going wrong that can."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from danqing.core.states import JobState
from danqing.core.types import ArtifactKind, Stage
from danqing.workers.messages import EnlargingBegan, JobNews
from tests.zoo.engines import PARTS
from tests.zoo.house import JOB_RULES, RED, a_house, states, steps, until

GATE = "enlarging waits at the gate"


async def test_a_picture_becomes_an_enlarged_one_and_no_device_is_asked(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a device that is busy
        busy = await house.submit("waits at the gate")
        await house.under_way(busy)
        house.zoo.open_gate("gate")
        assert (await house.ended(busy)).state is JobState.COMPLETED
        house.zoo.close_gate("gate")
        # When a picture is to be enlarged
        job = await house.submit_picture(GATE, ArtifactKind.PREVIEW)
        await house.enlarging(job)  # its first part is told before the gate
        history = await house.history(job, gate="gate")
        # Then only parts are told, of the stage that it is
        assert states(history)[-1] == "completed"
        assert "generated" not in states(history)
        assert steps(history, Stage.UPSCALING) == list(range(2, PARTS + 1))
        assert steps(history) == []
        # And what is stored is that picture, enlarged, with a preview
        done = await house.studio.get(job.id)
        assert [(made.kind, made.width, made.height) for made in done.artifacts] == [
            (ArtifactKind.ORIGINAL, 128, 128),
            (ArtifactKind.PREVIEW, 128, 128),
        ]
        with Image.open(house.artifacts.path(f"{job.id}.png")) as picture:
            assert picture.getcolors() == [(128 * 128, RED)]


async def test_pictures_are_made_while_others_are_enlarged(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        slow = [await house.submit_picture(GATE, side=side) for side in (32, 33, 34)]
        await house.enlarging(slow[0])
        assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED
        house.zoo.open_gate("gate")
        for job in slow:
            assert (await house.ended(job)).state is JobState.COMPLETED


async def test_those_that_wait_stay_in_the_queue_and_keep_their_order(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given a picture that is being enlarged, and others that wait for it
        first = await house.submit_picture(GATE)
        await house.enlarging(first)
        low, high = [await house.submit_picture("a fox", side=33 + n, priority=n) for n in range(2)]
        # When the worker makes other pictures meanwhile
        for _ in range(2):
            assert (await house.ended(await house.submit("a tea pot"))).state is JobState.COMPLETED
        # Then it has taken none of them
        assert [(await house.store.get(job.id)).state for job in (low, high)] == [JobState.PENDING] * 2
        # And once it can, it takes the more urgent one first
        house.zoo.open_gate("gate")
        began = [(await house.ended(job)).attempts[0].started_at for job in (first, high, low)]
        assert began == sorted(began)


async def test_a_free_worker_takes_what_a_busy_one_has_no_turn_for(tmp_path: Path) -> None:
    async with a_house(tmp_path, workers=2) as house:
        slow = await house.submit_picture(GATE)
        await house.enlarging(slow)
        for side in (33, 34, 35):
            assert (await house.ended(await house.submit_picture("a fox", side=side))).state is JobState.COMPLETED
        house.zoo.open_gate("gate")
        await house.ended(slow)


async def test_copies_of_what_was_made_and_pictures_that_are_only_enlarged_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_house(tmp_path) as house:
        told, turns = house.dispatcher.job_told, list[str]()

        def noting(message: JobNews) -> None:
            if isinstance(message, EnlargingBegan):
                turns.append(message.job_id)
            told(message)

        monkeypatch.setattr(house.dispatcher, "job_told", noting)
        # Given three copies to be made, the first of which is, and two pictures that are only to be enlarged
        held = await house.submit("enlarging waits at the gate", ArtifactKind.UPSCALED)
        await house.generated(held)
        copies = [await house.submit("a tea pot", ArtifactKind.UPSCALED) for _ in range(2)]
        for copy in copies:
            await house.generated(copy)
        pictures = [await house.submit_picture("a fox", side=side) for side in (33, 34)]
        await until(lambda: house.supervisor.workers[0].takes == ("tiny",), "a picture taken")
        house.zoo.open_gate("gate")
        # Then a picture waits for no more than the copy that is being made, and the next one for the next copy
        first, second = pictures
        ends = [await house.ended(job) for job in (held, first, *copies, second)]
        assert [done.state for done in ends] == [JobState.COMPLETED] * 5
        assert [job_id for job_id in turns if job_id != second.id] == [job.id for job in (held, first, *copies)]
        assert turns.index(second.id) > turns.index(copies[0].id)


async def test_enlarging_is_dropped_at_the_end_of_a_part(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        job = await house.submit_picture(GATE)
        await house.enlarging(job)
        assert (await house.studio.cancel(job.id)).state is JobState.CANCELLED
        house.zoo.open_gate("gate")
        # The worker goes on with the next, and nothing is left of the first
        other = await house.ended(await house.submit_picture("a fox", side=40))
        assert other.state is JobState.COMPLETED
        await until(lambda: not list((tmp_path / "outputs").glob(f"{job.id}*")), "nothing of it")


async def test_a_worker_killed_while_it_enlarges_costs_one_attempt(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        # Given one that is being enlarged and one that waits for it
        first, second = [await house.submit_picture(GATE, side=side) for side in (32, 33)]
        await house.enlarging(first)
        pid = house.worker().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: house.worker().pid not in (pid, None), "a new process")
        house.zoo.open_gate("gate")
        for job, attempts in ((first, 2), (second, 1)):
            done = await house.ended(job)
            assert (done.state, len(done.attempts)) == (JobState.COMPLETED, attempts)


async def test_waiting_for_others_to_be_enlarged_makes_nothing_overdue(tmp_path: Path) -> None:
    rules = replace(JOB_RULES, task_timeout_s=2.0, stop_grace_s=30.0)
    async with a_house(tmp_path, job_rules=rules) as house:
        # Given a copy that takes too long, and a picture behind it
        slow = await house.submit(GATE, ArtifactKind.UPSCALED)
        await house.generated(slow)
        waits = await house.submit_picture("a fox")
        assert (await house.ended(slow)).state is JobState.FAILED
        await asyncio.sleep(rules.task_timeout_s)
        assert (await house.store.get(waits.id)).state is JobState.PROCESSING
        house.zoo.open_gate("gate")
        done = await house.ended(waits)
        assert (done.state, len(done.attempts)) == (JobState.COMPLETED, 1)


@pytest.mark.parametrize("prompt", ["enlarging breaks", "enlarges too little"])
async def test_what_cannot_be_enlarged_fails_and_the_worker_goes_on(tmp_path: Path, prompt: str) -> None:
    async with a_house(tmp_path) as house:
        failed = await house.ended(await house.submit_picture(prompt))
        assert (failed.state, failed.artifacts) == (JobState.FAILED, ())
        assert (await house.ended(await house.submit_picture("a fox"))).state is JobState.COMPLETED
