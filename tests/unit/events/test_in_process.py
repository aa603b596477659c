"""The event bus inside the server."""

import asyncio

import pytest

from danqing.core.states import JobState
from danqing.events.in_process import InProcessEventBus
from tests.contracts.event_bus import SOON_S, EventBusContract, changed, preview, step, told
from tests.fakes.domain import a_job


class TestInProcessEventBus(EventBusContract):
    implementation = InProcessEventBus

    @pytest.fixture
    def bus(self) -> InProcessEventBus:
        return InProcessEventBus()


async def test_states_may_outgrow_the_buffer() -> None:
    # Given a buffer of two, and a watcher that does not read
    job = a_job()
    bus = InProcessEventBus(buffer_size=2)
    happened = [changed(job, state) for state in (JobState.PENDING, JobState.PROCESSING, JobState.COMPLETED)]
    async with bus.watch(job.id) as events:
        # When three states and steps between them happen
        for event in happened:
            bus.publish(event)
            bus.publish(step(job, 1))
        # Then the states are all there
        heard = await told(events, 3)
        assert [event for event in heard if event in happened] == happened


async def test_no_progress_goes_to_make_room_for_a_preview() -> None:
    # Given a buffer full of progress
    job = a_job()
    bus = InProcessEventBus(buffer_size=4)
    steps = [step(job, number) for number in range(1, 5)]
    async with bus.watch(job.id) as events:
        for event in steps:
            bus.publish(event)
        # When a preview comes
        bus.publish(preview(job, 5))
        # Then the progress stays
        bus.close()
        assert [event async for event in events] == steps


async def test_a_slow_watcher_that_has_caught_up_is_told_every_preview_again() -> None:
    # Given a watcher that fell a quarter of the buffer behind
    job = a_job()
    bus = InProcessEventBus(buffer_size=16)
    previews = [preview(job, number) for number in range(1, 11)]
    async with bus.watch(job.id) as events:
        for event in previews[:5]:
            bus.publish(event)
        # Then it is told the newest preview only, and each newer one instead of it
        bus.publish(previews[5])
        assert await told(events, 1) == [previews[5]]
        # When it waits for more, having read everything
        waiting = asyncio.create_task(told(events, 1))
        await asyncio.sleep(0)
        bus.publish(previews[6])
        assert await waiting == [previews[6]]
        # Then it is told all again
        for event in previews[7:]:
            bus.publish(event)
        assert await told(events, 3) == previews[7:]


async def test_closing_ends_every_watch_once_it_has_given_out_all() -> None:
    # Given a watcher that waits, and one with something unread
    job = a_job()
    bus = InProcessEventBus()
    async with bus.watch(job.id) as waiting, bus.watch(job.id) as unread:
        bus.publish(step(job, 1))
        assert await told(waiting, 1) == [step(job, 1)]
        end = asyncio.create_task(anext(waiting, None))
        await asyncio.sleep(0)
        # When the bus is closed, twice
        bus.close()
        bus.close()
        # Then the first ends, the second after what it had
        assert await asyncio.wait_for(end, SOON_S) is None
        assert [event async for event in unread] == [step(job, 1)]
    # And a later watch ends at once
    async with bus.watch(job.id) as late:
        assert [event async for event in late] == []


async def test_nothing_is_kept_of_jobs_that_nobody_watches() -> None:
    # Given a watch that has ended
    job = a_job()
    bus = InProcessEventBus()
    async with bus.watch(job.id):
        pass
    # When things happen to the job
    bus.publish(step(job, 1))
    # Then a new watcher hears nothing of it
    async with bus.watch(job.id) as events:
        bus.close()
        assert [event async for event in events] == []
