"""The time as scripts in Redis know it: by Redis' clock, for those of the processes that share it may differ."""

from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since 1970."""

# What a script begins with whose first argument is what `told` gives. Redis 5 and newer let it write afterwards.
NOW = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
"""


def told(clock: Clock | None) -> float | str:
    """The first argument of a script. None: Redis is to look at its own."""
    return "" if clock is None else clock()
