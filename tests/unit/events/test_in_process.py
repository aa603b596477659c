"""The event bus inside the server."""

import asyncio

import pytest

from danqing.core.states import JobState
from danqing.events.in_process import InProcessEventBus
from tests.contracts.event_bus import SOON_S, EventBusContract, changed, step, told
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
