"""The way to a Redis that several processes share. Knows nothing of what is kept there."""

from danqing.redis_link.hearing import Hearing
from danqing.redis_link.link import NotARedisUrl, RedisAway, RedisLink

__all__ = ["Hearing", "NotARedisUrl", "RedisAway", "RedisLink"]
