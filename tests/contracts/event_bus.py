"""What every EventBus must do. A test module makes a subclass with `implementation` and a `bus` fixture."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import ClassVar

import pytest

from danqing.core.events import Event, PreviewMade, ProgressMade, StateChanged
from danqing.core.ports import EventBus
from danqing.core.states import JobState
from danqing.core.types import EncodedPicture, Job, Progress, Stage
from tests.fakes.domain import a_job

SOON_S = 60.0


def step(job: Job, number: int) -> ProgressMade:
    """A step of that job ended."""
    return ProgressMade(job_id=job.id, progress=Progress(stage=Stage.DENOISING, step=number, total_steps=1000))


def preview(job: Job, number: int) -> PreviewMade:
    """What that job's picture looks like after that step."""
    picture = EncodedPicture(width=1, height=1, media_type="image/jpeg", content=b"%d" % number)
    return PreviewMade(job_id=job.id, step=number, total_steps=1000, picture=picture)


def changed(job: Job, state: JobState) -> StateChanged:
    """That job is in this state now."""
    return StateChanged(job=replace(job, state=state))


async def told(events: AsyncIterator[Event], count: int) -> list[Event]:
    """The next events, without waiting long."""
    async with asyncio.timeout(SOON_S):
        return [await anext(events) for _ in range(count)]


async def until_completed(events: AsyncIterator[Event], job: Job) -> list[Event]:
    """All that is told until the job is completed."""
    heard: list[Event] = []
    while not heard or heard[-1] != changed(job, JobState.COMPLETED):
        heard += await told(events, 1)
    return heard


class EventBusContract:
    """The suite."""

    implementation: ClassVar[type]

    @pytest.fixture
    def bus(self) -> EventBus:
        raise NotImplementedError

    async def arrived(self, bus: EventBus) -> None:
        """Waits until everything published has come to where it is watched. Most buses need no time for that."""

    async def test_is_the_implementation_meant(self, bus: EventBus) -> None:
        assert type(bus) is self.implementation

    async def test_every_watcher_is_told_everything_in_order(self, bus: EventBus) -> None:
        # Given two watchers of a job
        job = a_job()
        happened = [changed(job, JobState.PROCESSING), step(job, 1), step(job, 2), changed(job, JobState.COMPLETED)]
        async with bus.watch(job.id) as one, bus.watch(job.id) as other:
            # When things happen to it
            for event in happened:
                bus.publish(event)
            # Then both are told all of it
            assert await told(one, 4) == happened
            assert await told(other, 4) == happened

    async def test_who_waits_for_states_is_told_of_nothing_else(self, bus: EventBus) -> None:
        # Given somebody who watches everything, and somebody who waits for states
        job = a_job()
        happened = [step(job, 1), preview(job, 1), changed(job, JobState.GENERATED), step(job, 2)]
        happened.append(changed(job, JobState.COMPLETED))
        async with bus.watch(job.id) as one, bus.watch(job.id, only_states=True) as other:
            for event in happened:
                bus.publish(event)
            # Then each hears what he came for, in order
            assert await told(one, 5) == happened
            assert await told(other, 2) == [happened[2], happened[4]]

    async def test_a_watcher_that_waits_is_woken(self, bus: EventBus) -> None:
        job = a_job()
        async with bus.watch(job.id) as events:
            # Given a watcher that waits already
            waiting = asyncio.create_task(told(events, 1))
            await asyncio.sleep(0)
            # When something happens
            bus.publish(step(job, 1))
            # Then it is told
            assert await waiting == [step(job, 1)]

    async def test_other_jobs_and_earlier_events_are_not_told(self, bus: EventBus) -> None:
        # Given an event before the watch, and one of another job during it
        job, other = a_job(), a_job()
        bus.publish(step(job, 1))
        async with bus.watch(job.id) as events:
            bus.publish(step(other, 2))
            bus.publish(step(job, 3))
            # Then only the third is told
            assert await told(events, 1) == [step(job, 3)]

    async def test_a_slow_watcher_loses_progress_first_and_never_a_state(self, bus: EventBus) -> None:
        # Given a watcher that does not read while very much happens
        job = a_job()
        async with bus.watch(job.id) as events:
            bus.publish(changed(job, JobState.PROCESSING))
            for number in range(1, 1001):
                bus.publish(step(job, number))
            bus.publish(changed(job, JobState.COMPLETED))
            await self.arrived(bus)
            # When it reads at last
            heard = await until_completed(events, job)
        # Then both states are there, far fewer steps than were made, the newest of them, in order
        assert heard[0] == changed(job, JobState.PROCESSING)
        numbers = [event.progress.step for event in heard if isinstance(event, ProgressMade)]
        assert 0 < len(numbers) < 200
        assert numbers[-1] == 1000
        assert numbers == sorted(numbers)

    async def test_a_watcher_that_keeps_up_is_told_every_preview(self, bus: EventBus) -> None:
        # Given a watcher that reads what happens in one step before the next one ends
        job = a_job()
        async with bus.watch(job.id) as events:
            for number in range(1, 201):
                happened = [preview(job, number), step(job, number)]
                for event in happened:
                    bus.publish(event)
                # Then it is told all of it
                assert await told(events, 2) == happened

    async def test_of_many_previews_a_slow_watcher_is_told_the_newest(self, bus: EventBus) -> None:
        # Given a watcher that does not read while many previews are made
        job = a_job()
        async with bus.watch(job.id) as events:
            bus.publish(changed(job, JobState.PROCESSING))
            for number in range(1, 1001):
                bus.publish(preview(job, number))
            bus.publish(changed(job, JobState.COMPLETED))
            await self.arrived(bus)
            # When it reads at last
            heard = await until_completed(events, job)
        # Then only the newest is left, in its place
        assert heard == [changed(job, JobState.PROCESSING), preview(job, 1000), changed(job, JobState.COMPLETED)]

    async def test_a_slow_watcher_loses_previews_before_progress(self, bus: EventBus) -> None:
        # Given how much progress a watcher is told that does not read meanwhile
        job = a_job()
        async with bus.watch(job.id) as events, bus.watch(job.id) as without:
            for number in range(1, 1001):
                bus.publish(step(job, number))
            bus.publish(changed(job, JobState.COMPLETED))
            await self.arrived(bus)
            progress = await until_completed(without, job)
            assert await until_completed(events, job) == progress
            # When there are previews between the steps
            for number in range(1, 1001):
                bus.publish(preview(job, number))
                bus.publish(step(job, number))
            bus.publish(changed(job, JobState.COMPLETED))
            await self.arrived(bus)
            # Then it is told as much progress, and no preview
            assert await until_completed(events, job) == progress

    async def test_the_newest_progress_of_a_running_job_is_known(self, bus: EventBus) -> None:
        # Given a running job
        job = a_job()
        assert await bus.progress(job.id) is None
        bus.publish(changed(job, JobState.PROCESSING))
        # When it makes steps
        bus.publish(step(job, 1))
        bus.publish(step(job, 2))
        bus.publish(preview(job, 3))
        await self.arrived(bus)
        # Then the newest is known, until it ends
        assert await bus.progress(job.id) == step(job, 2).progress
        bus.publish(changed(job, JobState.COMPLETED))
        await self.arrived(bus)
        assert await bus.progress(job.id) is None
        # And a step that is told too late is not kept
        bus.publish(step(job, 3))
        await self.arrived(bus)
        assert await bus.progress(job.id) is None
