"""Events on their way to Redis: held for as long as it takes, and no longer than there is room."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice

from danqing.core.background import outliving
from danqing.core.events import Event, ProgressMade, StateChanged
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.events.buffer import SIZE, EventBuffer
from danqing.events.watchers import job_of
from danqing.events.wire import encoded
from danqing.redis_link import RedisAway, RedisLink
from danqing.redis_link.link import Command

MOST_JOBS = 10_000  # of which something is held; beyond, the job goes whose first event came first
JOBS_AT_ONCE = 200
PAUSE_S = 0.1  # while Redis is away
PROGRESS_TTL_S = 6 * 3600
ENDED_TTL_S = 60  # for so long a step that comes too late is not kept
COMPLETED_KEY = "danqing:completed"  # when jobs began and ended, the newest first
COMPLETED_KEPT = 40
# A job that has ended has the empty string, and keeps it.
_KEEP_PROGRESS = "if redis.call('GET', KEYS[1]) ~= '' then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) end"


def channel_of(job_id: str) -> str:
    """On which a job's events are told."""
    return f"danqing:job:{job_id}"


def progress_key(job_id: str) -> str:
    """Under which the newest progress of a running job is kept, as the message that told it."""
    return f"danqing:progress:{job_id}"


def completion_in(noted: bytes) -> tuple[datetime, datetime]:
    """Beginning and end of a job of COMPLETED_KEY."""
    began, _, ended = noted.decode().partition(" ")
    return datetime.fromisoformat(began), datetime.fromisoformat(ended)


def _noted_completion(job: Job) -> list[Command]:
    if job.state is not JobState.COMPLETED or job.started_at is None or job.finished_at is None:
        return []
    noted = f"{job.started_at.isoformat()} {job.finished_at.isoformat()}"
    return [("LPUSH", COMPLETED_KEY, noted), ("LTRIM", COMPLETED_KEY, 0, COMPLETED_KEPT - 1)]


class Outgoing:
    """For one event loop. What Redis did not take is not sent again: who watches compares with the store anyway."""

    def __init__(self, link: RedisLink, *, origin: bytes, buffer_size: int = SIZE) -> None:
        """origin: see `wire`. buffer_size: of what is held of a job, see `EventBuffer`."""
        self._link = link
        self._origin = origin
        self._buffer_size = buffer_size
        self._held: dict[str, EventBuffer] = {}  # in the order of their first events
        self._something_held = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._all_sent.set()
        self.lost = 0

    def put(self, event: Event) -> None:
        """Never waits."""
        job_id = job_of(event)
        if (buffer := self._held.get(job_id)) is None:
            if len(self._held) >= MOST_JOBS:
                self.lost += len(self._held.pop(next(iter(self._held))).taken())
            buffer = self._held[job_id] = EventBuffer(self._buffer_size)
        buffer.put(event)
        self._something_held.set()
        self._all_sent.clear()

    async def run(self) -> None:
        """Sends what there is, until it is cancelled."""
        while True:
            await self._something_held.wait()
            if self._link.is_resting:
                await asyncio.sleep(PAUSE_S)
                continue
            some = list(islice(self._held, JOBS_AT_ONCE))
            events = [self._held.pop(job_id).taken() for job_id in some]
            sent = False
            with outliving("events_not_sent"), suppress(RedisAway):
                await self._link.ask(*(command for each in events for command in self._commands(each)))
                sent = True
            if not sent:
                self.lost += sum(map(len, events))
            if not self._held:
                self._something_held.clear()
                self._all_sent.set()

    async def flushed(self, *, wait_s: float) -> bool:
        """Waits until everything is sent, or lost; False if that takes longer."""
        try:
            async with asyncio.timeout(wait_s):
                await self._all_sent.wait()
        except TimeoutError:
            return False
        return True

    def _commands(self, events: Sequence[Event]) -> list[Command]:
        """Of one job."""
        job_id = job_of(events[0])
        channel, key = channel_of(job_id), progress_key(job_id)
        commands: list[Command] = []
        kept: Command | None = None
        for event in events:
            try:
                message = encoded(event, self._origin)
            except ValueError:  # a text that no message can have
                self.lost += 1
                continue
            commands.append(("PUBLISH", channel, message))
            match event:
                case ProgressMade():
                    kept = ("EVAL", _KEEP_PROGRESS, 1, key, message, PROGRESS_TTL_S)
                case StateChanged() if event.job.state.is_final:
                    kept = ("SET", key, "", "EX", ENDED_TTL_S)
                    commands += _noted_completion(event.job)
                case StateChanged() if not event.job.state.is_running:
                    kept = ("DEL", key)
                case _:
                    pass
        return [*commands, kept] if kept else commands
