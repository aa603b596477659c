"""Who waits, at whichever process, over a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.core.orders import Limits, Order
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.core.submitting import Join
from danqing.core.types import RequestDraft
from danqing.events.in_process import InProcessEventBus
from danqing.redis_link import RedisLink
from danqing.shared.attendance import SharedAttendance
from tests.contracts.attendance import AttendanceContract, begin
from tests.fakes.domain import a_card
from tests.fakes.job_store import InMemoryJobStore
from tests.fakes.studio_parts import FixedCatalogue, RecordingQueue, StillPool
from tests.services.redis import RedisServer
from tests.zoo.house import until

WAITED_FOR = Order(draft=RequestDraft(prompt="pizza", seed=1), join=Join.UNDER_WAY, attended=True)


class TestSharedAttendance(AttendanceContract):
    implementation = SharedAttendance

    @pytest.fixture
    async def attendance(self, link: RedisLink) -> AsyncIterator[SharedAttendance]:
        attendance = SharedAttendance(link)
        async with attendance.at_work():
            yield attendance


class TestAtTwoProcesses(AttendanceContract):
    """Those who wait are at one process; who asks is at another one."""

    implementation = SharedAttendance

    @pytest.fixture
    async def attendance(self, link: RedisLink, other_link: RedisLink) -> AsyncIterator[SharedAttendance]:
        one, other = SharedAttendance(link), SharedAttendance(other_link)
        async with one.at_work(), other.at_work():
            one.asked_for = other.asked_for  # type: ignore[method-assign]
            one.waiting = other.waiting  # type: ignore[method-assign]
            one.goes_on = other.goes_on  # type: ignore[method-assign]
            yield one


async def test_only_when_nobody_waits_anywhere_is_a_job_abandoned(link: RedisLink, other_link: RedisLink) -> None:
    one, other = SharedAttendance(link), SharedAttendance(other_link)
    async with one.at_work(), other.at_work():
        # Given a job for which one waits here, and two there
        await begin(one, "job")
        assert await other.join("job", attended=True)
        assert await other.join("job", attended=True)
        assert await one.waiting("job") == 3
        # When they leave, then the last one's leaving abandons it
        assert [await at.leave("job", ended=False) for at in (one, other, other)] == [False, False, True]
        # And neither process joins it
        assert [await at.join("job", attended=True) for at in (one, other)] == [False, False]


async def test_who_waited_at_a_process_that_was_killed_waits_no_more(link: RedisLink, other_link: RedisLink) -> None:
    # Given a job for which somebody waits here, and somebody at a process that has just been killed
    here, killed = SharedAttendance(link), SharedAttendance(other_link, lease_s=1.0)
    async with here.at_work():
        await begin(killed, "job")
        assert await here.join("job", attended=True)
        await _lapsed(link)
        # When the one who waits here leaves, then nobody wants it
        assert await here.leave("job", ended=False)


async def test_a_process_that_stops_has_nobody_who_waits(link: RedisLink, other_link: RedisLink) -> None:
    here, there = SharedAttendance(link), SharedAttendance(other_link)
    async with here.at_work():
        async with there.at_work():
            await begin(there, "job")
            assert await here.join("job", attended=True)
        assert await here.leave("job", ended=False)


async def _lapsed(link: RedisLink) -> None:
    """Only one process is left alive."""
    async with asyncio.timeout(30):
        while len((await link.ask(("KEYS", "danqing:waiting-at:*")))[0]) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_while_redis_is_away_nobody_loses_his_job_by_others_leaving(
    link: RedisLink, redis_server: RedisServer
) -> None:
    attendance = SharedAttendance(link)
    async with attendance.at_work():
        await begin(attendance, "before")
        redis_server.kill()
        try:
            await begin(attendance, "during")
            # Given jobs of before and of meanwhile, then nobody joins either, and neither is abandoned
            for job_id in ("before", "during"):
                assert not await attendance.join(job_id, attended=True)
                assert not await attendance.join(job_id, attended=False)
                assert not await attendance.leave(job_id, ended=False)
                await attendance.goes_on(job_id)
                assert await attendance.waiting(job_id) == 0
        finally:
            redis_server.start()
        # When Redis is back, empty, then all of them are wanted
        assert not await attendance.leave("before", ended=False)
        # And new ones are attended as ever, at once
        await begin(attendance, "after")
        assert await attendance.leave("after", ended=False)


async def test_what_redis_could_not_be_told_it_is_told_later(
    link: RedisLink, other_link: RedisLink, redis_server: RedisServer
) -> None:
    here, there = SharedAttendance(link, lease_s=0.1), SharedAttendance(other_link)
    async with here.at_work(), there.at_work():
        # Given a job that is asked for while this process does not reach Redis
        await begin(there, "job")
        with pytest.MonkeyPatch.context() as away:
            away.setattr(type(link), "is_resting", property(lambda _: True))
            await here.asked_for("job")
            assert not await here.leave("job", ended=False)
        # When it does again, then the job is wanted everywhere
        await until(lambda: redis_server.run("EXISTS", "danqing:attended:job") == b":0\r\n", "told")
        assert not await there.leave("job", ended=False)


async def test_who_waits_at_a_process_that_has_not_come_back_to_redis_yet_loses_no_job(
    link: RedisLink, other_link: RedisLink, redis_server: RedisServer
) -> None:
    here, there = SharedAttendance(link), SharedAttendance(other_link)
    # Given a job for which somebody waits here, and somebody at another process
    await begin(there, "job")
    assert await here.join("job", attended=True)
    # When Redis was away for longer than it remembers who lives, and this process is the first that comes back
    with pytest.MonkeyPatch.context() as away:
        away.setattr(type(link), "is_resting", property(lambda _: True))
        assert await here.waiting("job") == 0
    redis_server.run("DEL", f"danqing:waiting-at:{there._process}")
    # Then whoever leaves here takes it from nobody, and it is abandoned with the last
    assert not await here.leave("job", ended=False)
    assert await there.leave("job", ended=False)


async def test_a_process_says_that_it_lives_as_soon_as_redis_is_back(
    link: RedisLink, redis_server: RedisServer
) -> None:
    # Given a process that says it every two minutes, and finds Redis away
    attendance = SharedAttendance(link, lease_s=600.0)
    with pytest.MonkeyPatch.context() as away:
        away.setattr(type(link), "is_resting", property(lambda _: True))
        at_work = attendance.at_work()
        await at_work.__aenter__()
        await asyncio.sleep(0.01)
    # When it is back, then it says it at once
    alive = f"danqing:waiting-at:{attendance._process}"
    await until(lambda: redis_server.run("EXISTS", alive) == b":1\r\n", "alive")
    await at_work.__aexit__(None, None, None)


async def test_a_job_joined_by_clients_of_two_processes_is_cancelled_by_the_last(
    link: RedisLink, other_link: RedisLink, tmp_path: Path
) -> None:
    # Given two API processes over one store
    store, queue = InMemoryJobStore(), RecordingQueue()

    def a_studio(attendance: SharedAttendance) -> Studio:
        return Studio(
            store=store,
            queue=queue,
            pool=StillPool(),
            events=InProcessEventBus(),
            catalogue=FixedCatalogue(a_card()),
            artifacts=LocalArtifactStore(tmp_path),
            limits=Limits(max_queue_size=9),
            attendance=attendance,
        )

    here, there = SharedAttendance(link), SharedAttendance(other_link)
    async with here.at_work(), there.at_work():
        one, other = a_studio(here), a_studio(there)
        # When clients of both wait for equal pictures, and one after the other leaves
        job = await one.submit(WAITED_FOR)
        assert await other.submit(WAITED_FOR) == job
        await one.leave(job)
        assert (await store.get(job.id)).state is JobState.PENDING
        await other.leave(job)
        # Then the last one's leaving cancels it, and none of them is joined to it any more
        assert (await store.get(job.id)).state is JobState.CANCELLED
        fresh = await one.submit(WAITED_FOR)
        assert fresh.id != job.id
        # But not if somebody asks for it by its id, at whichever process
        await other.get(fresh.id)
        await one.leave(fresh)
        assert (await store.get(fresh.id)).state is JobState.PENDING
