"""How many jobs each owner had accepted within 24 hours, at all API processes together: counted in Redis.

The store knows it too, but cannot say it quickly; from it Redis learns it after it has lost everything.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count

import structlog

from danqing.core.keeping import KeptJobs
from danqing.core.quotas import DAY, LocalDayCounts
from danqing.redis_link import RedisAway, RedisLink
from danqing.redis_link.link import Command

log = structlog.get_logger(__name__)

LEARNED_KEY = "danqing:days-learned"  # is there if what the store knows is in Redis
LEARNING_KEY = "danqing:days-being-learned"
LEARNING_S = 30
LOOK_AGAIN_S = 0.1
WAIT_S = 2.0  # for another process that learns it
COMMANDS_AT_ONCE = 2000
NO_LIMIT = 2**62

# A sorted set for each owner: something for each job, by when it was accepted.
_TAKE = """
if redis.call('EXISTS', KEYS[2]) == 0 then return 'unknown' end
local now, day, jobs, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - day)
for _, ahead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf')) do
  redis.call('ZADD', KEYS[1], ARGV[1], ahead)
end
local there = redis.call('ZCARD', KEYS[1])
if there + jobs > most then
  if there == 0 then return tostring(day) end
  local last = math.min(there, there + jobs - most) - 1
  return string.format('%.17g', tonumber(redis.call('ZRANGE', KEYS[1], last, last, 'WITHSCORES')[2]) + day - now)
end
for number = 1, jobs do redis.call('ZADD', KEYS[1], ARGV[1], ARGV[5] .. number) end
redis.call('EXPIRE', KEYS[1], math.ceil(day))
return ''
"""


class SharedDayCounts:
    """Implements `core.quotas.DayCounts`. For one event loop.

    While Redis is away each process counts what it has accepted itself, and what there was when it started. What Redis
    has kept meanwhile lacks that: who has accepted something so has it learn anew, once it is there again.
    """

    def __init__(self, link: RedisLink, *, kept: KeptJobs, now: Callable[[], datetime], per_owner: bool = True) -> None:
        """now: by a clock that all processes share; those that differ a little do not matter."""
        self._link = link
        self._kept = kept
        self._now = now
        self._per_owner = per_owner
        self._own = LocalDayCounts(kept=kept, now=now, per_owner=per_owner)
        self._is_untold = False  # something that was accepted, or came to nothing, while Redis was away
        self._untelling = asyncio.Lock()
        self._names = (f"{secrets.token_hex(8)}-{number}-" for number in count())

    async def load(self) -> None:
        """See the Protocol; so for all below."""
        await self._own.load()
        try:
            await self._learn()
        except RedisAway:
            log.info("day_counts_not_shared_yet")

    async def take(self, owner: str | None, jobs: int, most: int) -> timedelta | None:
        is_away = False
        try:
            await self._forget_if_untold()
            answer = await self._taken(owner, jobs, most)
            if answer == b"unknown":
                await self._learn()
                answer = await self._taken(owner, jobs, most)
        except RedisAway:
            answer, is_away = b"unknown", True
        if answer == b"unknown":
            wait = await self._own.take(owner, jobs, most)
            # Not where Redis is there and another process still tells it: what takes long would be begun again.
            self._is_untold |= is_away and wait is None
            return wait
        if answer:
            return timedelta(seconds=float(answer))
        await self._own.take(owner, jobs, NO_LIMIT)  # noted, should Redis go away
        return None

    async def give_back(self, owner: str | None, jobs: int) -> None:
        await self._own.give_back(owner, jobs)
        try:
            await self._link.ask(("ZPOPMAX", day_key(owner), jobs))
        except RedisAway:
            self._is_untold = True
            log.info("day_counts_too_high", jobs=jobs)

    async def _taken(self, owner: str | None, jobs: int, most: int) -> bytes:
        day = DAY.total_seconds()
        now, name = self._now().timestamp(), next(self._names)
        (answer,) = await self._link.ask(("EVAL", _TAKE, 2, day_key(owner), LEARNED_KEY, now, day, jobs, most, name))
        return answer

    async def _forget_if_untold(self) -> None:
        """Has Redis know that it does not know everything. Raises RedisAway."""
        async with self._untelling:
            if self._is_untold:
                self._is_untold = False
                try:
                    await self._link.ask(("DEL", LEARNED_KEY))
                except BaseException:  # who asks may go, too
                    self._is_untold = True
                    raise

    async def _learn(self) -> None:
        """Has Redis know what the store knows; one process does that, and others wait for it. Raises RedisAway."""
        until = asyncio.get_running_loop().time() + WAIT_S
        while asyncio.get_running_loop().time() < until:
            learned, mine = await self._link.ask(
                ("EXISTS", LEARNED_KEY), ("SET", LEARNING_KEY, "", "NX", "EX", LEARNING_S)
            )
            if learned and not mine:
                return
            if mine:
                try:
                    if not learned:
                        await self._teach()
                finally:
                    await self._link.ask(("DEL", LEARNING_KEY))
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _teach(self) -> None:
        now = self._now()
        commands: list[Command] = []
        accepted = await self._kept.accepted_since(now - DAY)
        keys = [day_key(owner if self._per_owner else None) for owner, _ in accepted]
        for key in dict.fromkeys(keys):
            commands.append(("DEL", key))
        for number, (key, (_, moment)) in enumerate(zip(keys, accepted, strict=True)):
            commands.append(("ZADD", key, min(moment, now).timestamp(), f"before-{number}"))
            commands.append(("EXPIRE", key, round(DAY.total_seconds())))
        for start in range(0, len(commands), COMMANDS_AT_ONCE):
            await self._link.ask(*commands[start : start + COMMANDS_AT_ONCE])
        await self._link.ask(("SET", LEARNED_KEY, ""))


def day_key(owner: str | None) -> str:
    """Says nothing about who it is."""
    return "danqing:day:" + ("all" if owner is None else hashlib.sha256(owner.encode()).hexdigest())
