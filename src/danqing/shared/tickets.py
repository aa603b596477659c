"""Tickets that open a WebSocket at whichever process it comes to: kept in Redis, by digest."""

import hashlib
import secrets

from pydantic import TypeAdapter

from danqing.core.callers import Caller
from danqing.core.errors import Unavailable
from danqing.redis_link import RedisAway, RedisLink
from danqing.shared.redis_clock import NOW, Clock, told

CALLERS_KEY = "danqing:tickets"  # who each was issued to
TIMES_KEY = "danqing:ticket-times"  # until when it is good
_CALLER = TypeAdapter(Caller)

_ISSUE = (
    NOW
    + """
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.17g', now))
if redis.call('ZCARD', KEYS[2]) - #old >= tonumber(ARGV[5]) then
  old[#old + 1] = redis.call('ZRANGE', KEYS[2], #old, #old)[1]
end
for _, digest in ipairs(old) do
  redis.call('ZREM', KEYS[2], digest)
  redis.call('HDEL', KEYS[1], digest)
end
redis.call('ZADD', KEYS[2], string.format('%.17g', now + tonumber(ARGV[2])), ARGV[3])
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('EXPIRE', KEYS[2], ARGV[6])
"""
)
_REDEEM = (
    NOW
    + """
local good, caller = redis.call('ZSCORE', KEYS[2], ARGV[2]), redis.call('HGET', KEYS[1], ARGV[2])
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('HDEL', KEYS[1], ARGV[2])
if good and caller and tonumber(good) > now then return caller end
return false
"""
)


class SharedTickets:
    """Implements `core.tickets.Tickets`. For one event loop. While Redis is away none is issued, and nobody knows
    which are good."""

    def __init__(self, link: RedisLink, *, lifetime_s: int, most: int, now: Clock | None = None) -> None:
        """most: that nobody has used; beyond, the oldest go. now: None for Redis' clock, which is one for all."""
        self._link = link
        self._lifetime_s = lifetime_s
        self._most = most
        self._now = now

    async def issue(self, caller: Caller) -> str:
        """See the Protocol; so for all below."""
        ticket = secrets.token_urlsafe(32)
        words = _CALLER.dump_json(caller)
        terms = (told(self._now), self._lifetime_s, _digest(ticket), words, self._most, 2 * self._lifetime_s)
        try:
            await self._link.ask(("EVAL", _ISSUE, 2, CALLERS_KEY, TIMES_KEY, *terms))
        except RedisAway as exc:
            raise Unavailable("No ticket can be issued just now; try again in a moment.") from exc
        return ticket

    async def redeem(self, ticket: str) -> Caller | None:
        terms = (told(self._now), _digest(ticket))
        try:
            (words,) = await self._link.ask(("EVAL", _REDEEM, 2, CALLERS_KEY, TIMES_KEY, *terms))
        except RedisAway as exc:
            raise Unavailable("Tickets cannot be looked for just now; try again in a moment.") from exc
        return _CALLER.validate_json(words) if words else None


def _digest(ticket: str) -> str:
    """Who reads Redis finds no ticket there."""
    return hashlib.sha256(ticket.encode()).hexdigest()
