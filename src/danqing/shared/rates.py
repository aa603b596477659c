"""How much an owner may ask for in a while, at all API processes together: buckets in Redis."""

import hashlib

from danqing.core.rate_limits import ROUNDING, RateLimit, RateRule
from danqing.redis_link import RedisAway, RedisLink
from danqing.shared.redis_clock import NOW, Clock, told

# A bucket is a hash of its level, and when it was that, which never goes back: the way from then to now would be filled
# twice. It is gone once it would be full.
_LEVEL = (
    NOW
    + """
local rate, burst = tonumber(ARGV[2]), tonumber(ARGV[3])
local held = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = burst
if held[1] then
  now = math.max(now, tonumber(held[2]))
  level = math.min(burst, tonumber(held[1]) + (now - tonumber(held[2])) * rate)
end
local function keep(kept)
  redis.call('HSET', KEYS[1], 'level', string.format('%.17g', kept), 'at', string.format('%.17g', now))
  redis.call('PEXPIRE', KEYS[1], math.max(1, math.ceil((burst - kept) / rate * 1000)))
end
"""
)
_TAKE = (
    _LEVEL
    + """
local missing = math.min(tonumber(ARGV[4]), burst) - level
if missing > tonumber(ARGV[5]) then return string.format('%.17g', missing) end
keep(level - tonumber(ARGV[4]))
return ''
"""
)
_GIVE_BACK = _LEVEL + "keep(math.min(burst, level + tonumber(ARGV[4])))"


class SharedRates:
    """Implements `core.rate_limits.Rates`. For one event loop.

    While Redis is away each process has buckets of its own, full at first.
    """

    def __init__(self, link: RedisLink, rule: RateRule, *, now: Clock | None = None) -> None:
        """now: seconds; None for Redis' clock, which is one for all processes."""
        self._link = link
        self._rule = rule
        self._now = now
        self._own = RateLimit(rule)

    async def take(self, owner: str | None, cost: float) -> None:
        """See the Protocol; so for all below."""
        try:
            (missing,) = await self._link.ask(self._command(_TAKE, owner, cost, ROUNDING))
        except RedisAway:
            await self._own.take(owner, cost)
            return
        if missing:
            raise self._rule.refusal(float(missing))

    async def give_back(self, owner: str | None, cost: float) -> None:
        if not cost:
            return
        try:
            await self._link.ask(self._command(_GIVE_BACK, owner, cost))
        except RedisAway:
            await self._own.give_back(owner, cost)

    def _command(self, script: str, owner: str | None, *more: float) -> tuple[str | float, ...]:
        rate, burst = self._rule.per_minute / 60, self._rule.burst
        return ("EVAL", script, 1, bucket_key(owner), told(self._now), rate, burst, *more)


def bucket_key(owner: str | None) -> str:
    """Says nothing about who it is."""
    return "danqing:rate:" + ("all" if owner is None else hashlib.sha256(owner.encode()).hexdigest())
