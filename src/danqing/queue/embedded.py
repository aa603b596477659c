"""The job queue inside the server process: ids in heaps, a line a model. Forgotten when the process ends.

What waits is published again from the store at start-up, so nothing here needs to last.
"""

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from danqing.core.batching import batch_key
from danqing.core.fairness import is_suspect
from danqing.core.shared_store import Waiting
from danqing.core.types import Job
from danqing.queue.ages import WaitingAges
from danqing.queue.line import Entry, Line


class _Waiting(NamedTuple):
    """key: of the jobs that it may be made with; None where it is to be made alone."""

    model: str
    key: Hashable | None
    entry: Entry


@dataclass(eq=False)
class _Taker:
    """woken: with a job that was offered; or with None, to look what waits: woken_for, the model of what came."""

    models: Collection[str]
    warm: Collection[str]
    woken: asyncio.Future[str | None]
    woken_for: str | None = None


@dataclass
class _Offer:
    """stored: the job, once it is. is_refused: it never will be. is_back: nobody has taken it after all."""

    stored: Job | None = None
    is_refused: bool = False
    is_back: bool = False


@dataclass(frozen=True, kw_only=True)
class QueueRules:
    """max_running_of_owner: of an owner's jobs that are taken and not done, at most; None: as many as are taken.

    max_passes: how often in a row jobs of a model may be passed over for the sake of one that a taker has at hand.
    offers: whether `offer` gives jobs away: where a claim waits for a job that is being stored.
    """

    max_running_of_owner: int | None = None
    max_passes: int = 4
    offers: bool = True


class EmbeddedQueue:
    """Higher priority first, then by turn (`core.fairness`), then in order of acceptance; but a job that was tried
    twice already lets those go first that wait at its priority when it comes back. For use from one event loop only.
    """

    def __init__(self, rules: QueueRules | None = None) -> None:
        self._rules = rules or QueueRules()
        self._lines: dict[str, Line] = {}
        self._waiting: dict[str, _Waiting] = {}  # by job id
        self._ages = WaitingAges()
        self._owner_of: dict[str, str] = {}  # of those that are taken and not done
        self._running: Counter[str] = Counter()  # by owner
        self._passed: Counter[str] = Counter()  # by model
        self._takers: deque[_Taker] = deque()
        self._offers: dict[str, _Offer] = {}  # by job id, until both sides have told what became of it
        self._coming = 0  # takers that were woken and have not looked yet
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        """Number of ids waiting."""
        return len(self._waiting)

    async def waiting(self) -> Mapping[str, Waiting]:
        """How many wait, by model; models of which none waits are left out."""
        return self._ages.all()

    def offer(self, job: Job) -> bool:
        """See the port: to a taker of its model that waits, for whom nothing else does then."""
        if not self._rules.offers or self._coming or self._is_held(job.owner) or job.id in self._offers:
            return False
        if (taker := self._waiting_taker(job.request.model)) is None:
            return False
        self._takers.remove(taker)
        self._offers[job.id] = _Offer()
        self._count_taken(job.id, job.owner)
        taker.woken.set_result(job.id)
        return True

    async def publish(self, job: Job) -> None:
        """Makes the pending job known to takers of its model. Publishing a waiting job again changes nothing."""
        offer = self._offers.get(job.id)
        if offer is not None and not offer.is_back and offer.stored is None:
            offer.stored = job
        elif job.id not in self._waiting:
            self._enter(job)

    async def move_up(self, job: Job) -> None:
        """See the port. One that was given to a taker just now is made all the same."""
        if (waiting := self._waiting.get(job.id)) is not None:
            if waiting.entry.before <= -job.priority:
                return
            self._remove(job.id)
        elif job.id in self._offers or job.id in self._owner_of:
            return
        self._enter(job)

    def came_back(self, job_id: str) -> bool:
        """See `TakingQueue`."""
        if (offer := self._offers.get(job_id)) is None:
            return False
        if offer.stored is not None:
            self._enter(offer.stored)
        elif offer.is_refused:
            del self._offers[job_id]
        else:
            offer.is_back = True
            self._count_off(job_id)
        return True

    def is_refused(self, job_id: str) -> bool:
        """See `TakingQueue`."""
        return (offer := self._offers.get(job_id)) is not None and offer.is_refused

    def _enter(self, job: Job) -> None:
        self.done(job.id)
        model, turn, sequence = job.request.model, job.turn, job.sequence
        if is_suspect(job):
            turn, sequence = max(self._places(model, -job.priority), default=(turn, sequence))
        entry = Entry(-job.priority, turn, sequence, next(self._arrivals), job.id, job.owner)
        self._waiting[job.id] = _Waiting(model, None if job.attempts else batch_key(job.request), entry)
        self._lines.setdefault(model, Line()).add(entry)
        self._ages.add(model, job.id, job.created_at)
        if not self._is_held(job.owner):
            self._wake_one(model)

    def _places(self, model: str, before: int) -> list[tuple[int, int]]:
        entries = (waiting.entry for waiting in self._waiting.values() if waiting.model == model)
        return [(entry.turn, entry.sequence) for entry in entries if entry.before == before]

    async def withdraw(self, job_id: str) -> None:
        """Forgets a job that nobody has taken; unknown ids are fine."""
        offer = self._offers.get(job_id)
        if offer is not None and offer.stored is None and not offer.is_back:
            offer.is_refused = True
            self._count_off(job_id)
        else:  # who runs it is done with it once it is dropped
            self._offers.pop(job_id, None)
        self._remove(job_id)

    def _remove(self, job_id: str) -> None:
        if (waiting := self._waiting.pop(job_id, None)) is not None:
            self._ages.remove(waiting.model, job_id)
            self._lines[waiting.model].withdraw(waiting.entry)
            if not self._lines[waiting.model]:
                del self._lines[waiting.model], self._passed[waiting.model]

    async def take(self, models: Collection[str], *, warm: Collection[str] = (), taker: str = "") -> str:
        """Waits for a job of one of these models and removes it from the queue; the next in order over all of them.

        warm: those of the models that are at hand: their jobs may go before others of the same priority, but only
        max_passes times in a row before the same model. Every id goes to one taker only: to the one that waits longest,
        of those that have the model at hand if there are such. Cancelling a take loses no job.
        """
        woken_for: str | None = None
        while (taken := self._pop(models, warm)) is None:
            looking = _Taker(models, warm, asyncio.get_running_loop().create_future())
            self._takers.append(looking)
            try:
                job_id = await looking.woken
            except asyncio.CancelledError:
                if looking in self._takers:
                    self._takers.remove(looking)
                elif (offered := looking.woken.result()) is not None:
                    self.came_back(offered)
                else:  # woken and cancelled at once: somebody else must look instead
                    self._coming -= 1
                    self._wake_for(models)
                raise
            if job_id is not None:
                return job_id
            self._coming -= 1
            woken_for = looking.woken_for
        job_id, model = taken
        if woken_for is not None and woken_for != model:  # that job still waits, and others may be able to take it
            self._wake_for([woken_for])
        return job_id

    async def take_like(self, job: Job, most: int) -> Sequence[str]:
        """At most so many ids of the next jobs that can be made together with this one, in order; does not wait.

        They wait at its priority, before anything of its model that is not alike, and were not tried before. What
        others were woken for is left to them.
        """
        key, line = batch_key(job.request), self._lines.get(job.request.model)
        if line is None:
            return []
        job_ids: list[str] = []
        most = min(most, line.waiting_at(-job.priority) - self._coming)
        while len(job_ids) < most and (entry := line.first(self._is_held)) is not None:
            if entry.before != -job.priority or self._waiting[entry.job_id].key != key:
                break
            job_ids.append(self._taken(entry))
        return job_ids

    def done(self, job_id: str, *, taker: str = "") -> None:
        """The job was taken and is off its taker's hands, however that came: its owner may have another one made."""
        self._offers.pop(job_id, None)
        self._count_off(job_id)

    def _count_off(self, job_id: str) -> None:
        owner = self._owner_of.pop(job_id, None)
        if owner is None:
            return
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        if self._rules.max_running_of_owner is None or self._is_held(owner):
            return
        for model, line in self._lines.items():  # also if he was not held before: who was woken may not have looked yet
            line.show_again(owner)
            self._wake_one(model)

    def missed(self, job_id: str, *, taker: str = "") -> None:
        """As `done`: whoever has it is not of this queue. One that was offered is published once more."""
        if not self.came_back(job_id):
            self.done(job_id)

    async def settled(self, job: Job) -> None:
        """Does nothing: `done` has counted it."""

    def _is_held(self, owner: str) -> bool:
        most = self._rules.max_running_of_owner
        return most is not None and self._running[owner] >= most

    def _pop(self, models: Collection[str], warm: Collection[str]) -> tuple[str, str] | None:
        """A job and its model."""
        lines = [(model, line) for model in models if (line := self._lines.get(model)) is not None]
        firsts = [(entry, model) for model, line in lines if (entry := line.first(self._is_held)) is not None]
        if not firsts:
            return None
        entry, model = min(firsts)
        at_hand = [first for first in firsts if first[1] in warm and first[0].before == entry.before]
        if model not in warm and at_hand and self._passed[model] < self._rules.max_passes:
            self._passed[model] += 1
            entry, model = min(at_hand)
        else:
            del self._passed[model]
        return self._taken(entry), model

    def _taken(self, entry: Entry) -> str:
        self._remove(entry.job_id)
        self._count_taken(entry.job_id, entry.owner)
        return entry.job_id

    def _count_taken(self, job_id: str, owner: str) -> None:
        self._owner_of[job_id] = owner
        self._running[owner] += 1

    def _wake_for(self, models: Collection[str]) -> None:
        for model in models:
            if self._lines.get(model):
                self._wake_one(model)

    def _wake_one(self, model: str) -> None:
        if (taker := self._waiting_taker(model)) is not None:
            self._takers.remove(taker)
            taker.woken_for = model
            taker.woken.set_result(None)
            self._coming += 1

    def _waiting_taker(self, model: str) -> _Taker | None:
        able = [taker for taker in self._takers if model in taker.models and not taker.woken.done()]
        return next((taker for taker in able if model in taker.warm), able[0] if able else None)
