"""The taking end of the Celery queue in a node: a message says that there is work, the store says which.

A message is in somebody's hands until the device that it occupied is free again, or as good as free; so Celery fetches
one more than the devices make at most, and one whose node dies comes back by itself, or the sweeper sends for its job.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from danqing.core.errors import StorageFailure
from danqing.core.fairness import order_of_taking
from danqing.core.ports import JobQueue
from danqing.core.shared_store import JobLine
from danqing.core.types import Job

log = structlog.get_logger(__name__)

_LEASE_PAUSE_S = 1.0  # before a message is taken again, while a claim would not hold
_CLOSED_PAUSE_S = 0.1
_NEWER_PAUSE_S = 1.0  # before a message goes back for which only a newer version can do something
_LOOK_S = 1.0  # between two looks whether the loop that would answer is still there


@dataclass(frozen=True, kw_only=True)
class TakingRules:
    """max_running_of_owner, max_passes: as in `embedded.QueueRules`, over all nodes. patience_s: for which a message
    waits for a device, before it goes back to the broker.
    """

    max_running_of_owner: int | None = None
    max_passes: int = 4
    patience_s: float = 2.0


@dataclass(eq=False)
class _Delivery:
    """handled: True once it is done with, False if it is to go back."""

    model: str
    named: str
    handled: "Future[bool]" = field(default_factory=lambda: Future[bool]())
    timer: asyncio.TimerHandle | None = None


@dataclass(eq=False)
class _Held:
    """A delivery on whose account something was taken. models, warm: the taker's. job_id: the job that is claimed, or,
    before, the one that is named. is_its: the job is of its model; else it has to come again. asked: the line was, for
    this taking, and did not answer.
    """

    delivery: _Delivery
    models: Collection[str]
    warm: Collection[str]
    job_id: str
    is_its: bool = True
    asked: bool = False


@dataclass(eq=False)
class _Taker:
    models: Collection[str]
    warm: Collection[str]
    given: "asyncio.Future[_Delivery]"


class CeleryTaking:
    """Implements `TakingQueue`, and its `WorkClaiming`. For one event loop, but for `deliver`.

    What is taken is a message, told by the job that it names; which job it brings is said, and claimed, by the line in
    one step (`claim`). So no two takers ever run after the same one, whatever nodes they are of.
    """

    def __init__(
        self,
        *,
        line: JobLine,
        publisher: JobQueue,
        rules: TakingRules | None = None,
        may_take: Callable[[], bool] = lambda: True,
    ) -> None:
        """publisher: sends messages. may_take: asked before each job; False while a claim would not hold, for the
        node's lease may be over.
        """
        self._line = line
        self._publisher = publisher
        self._rules = rules or TakingRules()
        self._may_take = may_take
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Delivery] = deque()
        self._takers: deque[_Taker] = deque()
        self._held: dict[str, _Held] = {}  # by taker
        self._passed: Counter[str] = Counter()  # by model
        self._closed = False

    # Celery's end

    def deliver(self, model: str, job_id: str) -> bool:
        """A message has come; blocks until it may go. False: back to the broker. From any thread but the loop's."""
        delivery = _Delivery(model, job_id)
        try:
            self._loop.call_soon_threadsafe(self._arrived, delivery)
        except RuntimeError:  # the loop has ended
            return False
        while not self._loop.is_closed():
            with suppress(TimeoutError):
                return delivery.handled.result(_LOOK_S)
        return False

    def _arrived(self, delivery: _Delivery) -> None:
        if self._closed:
            self._loop.call_later(_CLOSED_PAUSE_S, self._end, delivery, False)
            return
        able = [taker for taker in self._takers if delivery.model in taker.models and not taker.given.done()]
        taker = next((taker for taker in able if delivery.model in taker.warm), able[0] if able else None)
        if taker is not None:
            self._takers.remove(taker)
            taker.given.set_result(delivery)
        else:
            self._waiting.append(delivery)
            delivery.timer = self._loop.call_later(self._rules.patience_s, self._give_up, delivery)

    def _give_up(self, delivery: _Delivery) -> None:
        self._waiting.remove(delivery)
        self._end(delivery, False)

    def _end(self, delivery: _Delivery, handled: bool) -> None:
        if not delivery.handled.done():
            delivery.handled.set_result(handled)

    @property
    def waiting(self) -> int:
        """Messages that wait for a device."""
        return len(self._waiting)

    def close(self) -> None:
        """Everything goes back to the broker, now and from now on."""
        self._closed = True
        while self._waiting:
            delivery = self._waiting.popleft()
            if delivery.timer is not None:
                delivery.timer.cancel()
            self._end(delivery, False)
        for taker in list(self._held):
            self._release(taker, back=True)

    # The dispatcher's end

    def offer(self, job: Job) -> bool:
        """To nobody; see `CeleryPublisher`."""
        return False

    def came_back(self, job_id: str) -> bool:
        """None was offered."""
        return False

    def is_refused(self, job_id: str) -> bool:
        """Likewise."""
        return False

    async def publish(self, job: Job) -> None:
        """Has a message sent, or, if the job was taken on account of one and not claimed, sends that one back."""
        for taker, held in self._held.items():
            if held.job_id == job.id:
                self._release(taker, back=True)
                return
        await self._publisher.publish(job)

    async def move_up(self, job: Job) -> None:
        """Does nothing; see `CeleryPublisher`."""

    async def withdraw(self, job_id: str) -> None:
        """Does nothing; see `CeleryPublisher`."""

    async def take(self, models: Collection[str], *, warm: Collection[str] = (), taker: str = "") -> str:
        """Waits for a message; the id that it names is to be claimed by `claim`. What the same taker had is
        off its device, or as good as that: the message that it came by may go.
        """
        self._release(taker)
        while True:
            delivery = await self._next(models, warm)
            if self._may_take():
                self._held[taker] = _Held(delivery, models, warm, delivery.named)
                return delivery.named
            self._end(delivery, False)
            await asyncio.sleep(_LEASE_PAUSE_S)

    async def claim(self, job_id: str, worker: str, now: datetime) -> Job | None:
        """See `Claiming`. worker: the taker. The message may go if nothing waits, and goes back if that is only so for
        this node.
        """
        held = self._held.get(worker)
        if held is None or held.job_id != job_id:  # it closed meanwhile
            return None
        if not self._may_take():
            self._release(worker, back=True)
            return None
        job = await self._claimed(held, worker, now)
        if self._held.get(worker) is not held:  # likewise; the job is made all the same
            return job
        if job is not None:
            held.job_id, held.is_its = job.id, job.request.model == held.delivery.model
        elif self._line.leaves_some(held.delivery.model):
            del self._held[worker]
            self._loop.call_later(_NEWER_PAUSE_S, self._end, held.delivery, False)
        else:
            self._release(worker)
        return job

    def send_back(self, taker: str) -> None:
        """See `WorkClaiming`. Nothing to do for one who has closed meanwhile."""
        self._release(taker, back=True)

    async def _claimed(self, held: _Held, worker: str, now: datetime) -> Job | None:
        before, held.asked = held.asked, True
        if before and (job := await self._line.claimed(worker, now)) is not None:
            return job
        model = await self._model(held)
        job = await self._claimed_of(model, worker, now)
        if job is None and model != held.delivery.model:  # its owners have enough running
            job = await self._claimed_of(held.delivery.model, worker, now)
        return job

    async def _claimed_of(self, model: str, worker: str, now: datetime) -> Job | None:
        return await self._line.claim(model, worker, now, max_running_of_owner=self._rules.max_running_of_owner)

    async def _next(self, models: Collection[str], warm: Collection[str]) -> _Delivery:
        fitting = [delivery for delivery in self._waiting if delivery.model in models]
        first = next((delivery for delivery in fitting if delivery.model in warm), fitting[0] if fitting else None)
        if first is not None:
            self._waiting.remove(first)
            if first.timer is not None:
                first.timer.cancel()
            return first
        taker = _Taker(models, warm, self._loop.create_future())
        self._takers.append(taker)
        try:
            return await taker.given
        except asyncio.CancelledError:
            if taker in self._takers:
                self._takers.remove(taker)
            else:  # given and cancelled at once
                self._arrived(taker.given.result())
            raise

    async def _model(self, held: _Held) -> str:
        """Whose first job goes before those of the others; or, for a while, one that is at hand."""
        if len(held.models) == 1:
            return held.delivery.model
        found = [job for model in held.models for job in await self._line.first(model, 1)]
        if not found:
            return held.delivery.model
        first = min(found, key=order_of_taking)
        model = first.request.model
        at_hand = [job for job in found if job.request.model in held.warm and job.priority == first.priority]
        if model not in held.warm and at_hand and self._passed[model] < self._rules.max_passes:
            self._passed[model] += 1
            return min(at_hand, key=order_of_taking).request.model
        del self._passed[model]
        return model

    async def take_like(self, job: Job, most: int) -> Sequence[str]:
        """What the line says. Their own messages find them taken, and something else or nothing to do."""
        try:
            return await self._line.alike(job, most, max_running_of_owner=self._rules.max_running_of_owner)
        except StorageFailure:
            log.exception("store_failed")
            return ()

    def done(self, job_id: str, *, taker: str = "") -> None:
        """The message that he came by it may go, if he has not come back before."""
        if self._has(taker, job_id):
            self._release(taker)

    def missed(self, job_id: str, *, taker: str = "") -> None:
        """One of those made together is somebody else's: their messages are for others to find. Or there was nothing
        to claim, of which `claim` knows.
        """

    def _has(self, taker: str, job_id: str) -> bool:
        held = self._held.get(taker)
        return held is not None and held.job_id == job_id

    async def settled(self, job: Job) -> None:
        """Messages for an owner who has enough running were let go; so one goes out when one of his has ended."""
        if self._rules.max_running_of_owner is None:
            return
        try:
            for waiting in await self._line.first(job.request.model, 1):
                await self._publisher.publish(waiting)
        except StorageFailure:
            log.exception("store_failed", hint="the sweeper sends for it")

    def _release(self, taker: str, *, back: bool = False) -> None:
        if (held := self._held.pop(taker, None)) is not None:
            self._end(held.delivery, held.is_its and not back)
