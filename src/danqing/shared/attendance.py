"""Who waits, at whichever process, for the jobs of which nobody is told: counted in Redis."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from danqing.core.background import outliving, running
from danqing.redis_link import RedisAway, RedisLink
from danqing.redis_link.link import Command

LEASE_S = 30.0  # those who wait at a process that says nothing for so long are gone
KEPT_S = 24 * 3600  # of a job, longer than anybody waits in a request
ABANDONED_S = 60  # longer than a cancel takes
AWAY_LOOK_S = 0.5  # how soon a process says that it lives once Redis is there again
REMEMBERED = 10_000

# A job has, while it is attended, a hash: how many wait, by process. A process has, while it lives, a key. An abandoned
# job has a key for as long as its cancel may take.
_ALIVE = "redis.call('SET', 'danqing:waiting-at:' .. ARGV[1], '', 'EX', ARGV[2])\n"
_BEGIN = (
    _ALIVE
    + """
for _, key in ipairs(KEYS) do
  redis.call('HSET', key, ARGV[1], 1)
  redis.call('EXPIRE', key, ARGV[3])
end
"""
)
_JOIN = (
    _ALIVE
    + """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
if ARGV[3] == '0' then
  redis.call('DEL', KEYS[1])
elseif redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
end
return 1
"""
)
_LEAVE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if redis.call('HINCRBY', KEYS[1], ARGV[1], -1) <= 0 then redis.call('HDEL', KEYS[1], ARGV[1]) end
for _, process in ipairs(redis.call('HKEYS', KEYS[1])) do
  if ARGV[4] == '1' and process ~= ARGV[1] and redis.call('EXISTS', 'danqing:waiting-at:' .. process) == 0 then
    redis.call('HDEL', KEYS[1], process)
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 or ARGV[2] == '1' then return 0 end
redis.call('SET', KEYS[2], '', 'EX', ARGV[3])
return 1
"""


class SharedAttendance:
    """Implements `core.attendance.Attendance`. For one event loop, within `at_work`.

    While Redis is away nobody joins a job that he could lose by others' leaving, and no job is abandoned. Nor is one,
    for a lease after that, for which somebody waits elsewhere: that process may not have said yet that it lives.
    """

    def __init__(self, link: RedisLink, *, lease_s: float = LEASE_S) -> None:
        """lease_s: a process that was killed is noticed after so long."""
        self._link = link
        self._lease_s = lease_s
        self._process = secrets.token_hex(8)
        self._sure_at = 0.0  # from when on a process that does not say that it lives is dead
        self._wanted: OrderedDict[str, None] = OrderedDict()  # jobs that are not attended any more, or never will be
        self._untold: set[str] = set()  # of them, those that Redis does not know of

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Inside, those who wait here count; afterwards none of them does."""
        try:
            async with running(self._live(), name="attendance"):
                yield
        finally:
            with suppress(RedisAway):
                await self._ask(("DEL", f"danqing:waiting-at:{self._process}"))

    async def waiting(self, job_id: str) -> int:
        """See the Protocol; so for all below."""
        try:
            (counts,) = await self._ask(("HVALS", _attended(job_id)))
        except RedisAway:
            return 0
        return sum(map(int, counts))

    @asynccontextmanager
    async def of_new(self, job_ids: Sequence[str]) -> AsyncGenerator[None]:
        if job_ids:
            keys = [_attended(job_id) for job_id in job_ids]
            with suppress(RedisAway):  # then they are wanted
                await self._run(_BEGIN, keys, self._seconds, KEPT_S)
        try:
            yield
        except BaseException:
            for job_id in job_ids:
                await self.leave(job_id, ended=True)
            raise

    async def join(self, job_id: str, *, attended: bool) -> bool:
        try:
            (joined,) = await self._run(_JOIN, _both(job_id), self._seconds, int(attended))
        except RedisAway:
            return False
        if joined and not attended:
            self._note_wanted(job_id)
        return bool(joined)

    async def asked_for(self, job_id: str) -> None:
        if job_id in self._wanted:
            return
        self._note_wanted(job_id)
        try:
            await self._ask(("DEL", _attended(job_id)))
        except RedisAway:
            self._untold.add(job_id)

    async def leave(self, job_id: str, *, ended: bool) -> bool:
        if job_id in self._wanted:
            return False
        is_sure = asyncio.get_running_loop().time() >= self._sure_at
        try:
            (abandoned,) = await self._run(_LEAVE, _both(job_id), int(ended), ABANDONED_S, int(is_sure))
        except RedisAway:
            return False
        return bool(abandoned)

    async def goes_on(self, job_id: str) -> None:
        with suppress(RedisAway):  # then it is joined again a minute later
            await self._ask(("DEL", _abandoned(job_id)))

    @property
    def _seconds(self) -> int:
        return max(1, round(self._lease_s))

    async def _run(self, script: str, keys: Sequence[str], *more: int) -> list[Any]:  # Any: Redis' replies
        command: Command = ("EVAL", script, len(keys), *keys, self._process, *more)
        return await self._ask(command)

    async def _ask(self, *commands: Command) -> list[Any]:  # Any: Redis' replies
        try:
            return await self._link.ask(*commands)
        except RedisAway:
            self._sure_at = asyncio.get_running_loop().time() + self._lease_s
            raise

    async def _live(self) -> None:
        while True:
            alive: Command = ("SET", f"danqing:waiting-at:{self._process}", "", "EX", self._seconds)
            untold = list(self._untold)
            pause_s = AWAY_LOOK_S
            with outliving("attendance_not_told"), suppress(RedisAway):
                await self._ask(alive, *(("DEL", _attended(job_id)) for job_id in untold))
                self._untold.difference_update(untold)
                pause_s = self._lease_s / 5
            await asyncio.sleep(pause_s)

    def _note_wanted(self, job_id: str) -> None:
        self._wanted[job_id] = None
        if len(self._wanted) > REMEMBERED:
            oldest, _ = self._wanted.popitem(last=False)
            self._untold.discard(oldest)


def _attended(job_id: str) -> str:
    return f"danqing:attended:{job_id}"


def _abandoned(job_id: str) -> str:
    return f"danqing:abandoned:{job_id}"


def _both(job_id: str) -> Sequence[str]:
    return _attended(job_id), _abandoned(job_id)
