"""How much work an owner may ask for in a while: a bucket of it for each, which fills up again steadily.

Work is what a picture costs a device, as far as it can be known before: megapixels times steps.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from danqing.core.errors import RateLimited
from danqing.core.fairness import work_of
from danqing.core.types import GenerationRequest

LEAST_COST = 1.0  # of a job, however small its picture is: it is stored, made and kept all the same
ROUNDING = 1e-6  # what was filled in small steps adds up to not quite as much
MAX_BUCKETS = 10_000  # held before those are looked for that are full again


def cost_of(request: GenerationRequest) -> float:
    """Megapixels times steps, LEAST_COST or more."""
    return max(LEAST_COST, work_of(request) / 1e6)


@dataclass(frozen=True, kw_only=True)
class RateRule:
    """per_minute: megapixel-steps by which a bucket fills. burst: what a full one holds; both above 0."""

    per_minute: float
    burst: float

    def refusal(self, missing: float) -> RateLimited:
        """For who asks when so much is missing in his bucket."""
        return RateLimited(retry_after_s=math.ceil(missing / self.per_minute * 60))


@dataclass
class _Bucket:
    level: float
    at: float  # when the level was that


class Rates(Protocol):
    """The buckets of all owners."""

    async def take(self, owner: str | None, cost: float) -> None:
        """owner: None for all. Who asks for more than a bucket holds needs a full one, and owes the rest.

        Raises RateLimited, which says when there will be enough.
        """
        ...

    async def give_back(self, owner: str | None, cost: float) -> None:
        """What was taken, for what came to nothing."""
        ...


class RateLimit:
    """`Rates` held in memory: every bucket is full after a restart. For one event loop."""

    def __init__(self, rule: RateRule, *, now: Callable[[], float] = time.monotonic) -> None:
        self._rule = rule
        self._now = now
        self._buckets: dict[str | None, _Bucket] = {}

    async def take(self, owner: str | None, cost: float) -> None:
        """See the Protocol; so for all below."""
        bucket = self._bucket(owner)
        missing = min(cost, self._rule.burst) - bucket.level
        if missing > ROUNDING:
            raise self._rule.refusal(missing)
        bucket.level -= cost

    async def give_back(self, owner: str | None, cost: float) -> None:
        bucket = self._bucket(owner)
        bucket.level = min(self._rule.burst, bucket.level + cost)

    def _bucket(self, owner: str | None) -> _Bucket:
        """As of now."""
        now = self._now()
        if len(self._buckets) >= MAX_BUCKETS:
            self._buckets = {name: each for name, each in self._buckets.items() if self._level(each, now) < self._burst}
        bucket = self._buckets.setdefault(owner, _Bucket(level=self._burst, at=now))
        bucket.level, bucket.at = self._level(bucket, now), now
        return bucket

    def _level(self, bucket: _Bucket, now: float) -> float:
        return min(self._burst, bucket.level + (now - bucket.at) * self._rule.per_minute / 60)

    @property
    def _burst(self) -> float:
        return self._rule.burst
