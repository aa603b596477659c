"""What a Studio needs beside stores: a queue that remembers, a pool without processes, a fixed catalogue."""

from collections.abc import Mapping, Sequence

from danqing.core.capabilities import ModelCard
from danqing.core.errors import UnknownModel
from danqing.core.model_names import meant_model
from danqing.core.types import Job, Mode, PoolStatus, WorkerState, WorkerStatus


class RecordingQueue:
    """A JobQueue without workers: `ids` are waiting, in the order of arrival; `moved_up` are those that were so.

    takes_offers: whether somebody waits, so that jobs are `offered`; `withdrawn` are those that were so.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.takes_offers = False
        self.offered: list[str] = []
        self.withdrawn: list[str] = []
        self.moved_up: list[Job] = []

    def offer(self, job: Job) -> bool:
        if self.takes_offers:
            self.offered.append(job.id)
        return self.takes_offers

    async def publish(self, job: Job) -> None:
        if job.id not in self.ids:
            self.ids.append(job.id)

    async def move_up(self, job: Job) -> None:
        self.moved_up.append(job)

    async def withdraw(self, job_id: str) -> None:
        self.withdrawn.append(job_id)
        if job_id in self.ids:
            self.ids.remove(job_id)


class StillPool:
    """A WorkerPool of one worker in a given state; `stopped` are the jobs it was told to drop."""

    def __init__(self, state: WorkerState = WorkerState.READY) -> None:
        self.state = state
        self.stopped: list[str] = []
        self.previewed: list[str] = []

    def status(self) -> PoolStatus:
        worker = WorkerStatus(id="w1", state=self.state, pid=1, restarts=0, models=("tiny",))
        return PoolStatus(workers=(worker,))

    def takes_jobs(self, *, when_loaded: bool) -> bool:
        status = self.status()
        return status.accepts_jobs or (when_loaded and status.is_coming_up)

    async def stop_job(self, job_id: str) -> None:
        self.stopped.append(job_id)

    async def send_previews(self, job_id: str) -> None:
        self.previewed.append(job_id)


class FixedCatalogue:
    """A ModelCatalogue of these cards, the first being the default."""

    def __init__(self, *cards: ModelCard, aliases: Mapping[str, str] | None = None) -> None:
        self._cards = cards
        self._aliases = aliases or {}

    def default(self, *, mode: Mode | None = None, instructed: bool = False) -> ModelCard:
        return next(
            (
                card
                for card in self._cards
                if (mode is None or mode in card.capabilities.modes)
                and (card.capabilities.instruction_edit or not instructed)
            ),
            self._cards[0],
        )

    def card(self, model_id: str, *, mode: Mode | None = None, instructed: bool = False) -> ModelCard:
        default, ids = self.default(mode=mode, instructed=instructed).id, {card.id for card in self._cards}
        for name in (model_id, meant_model(model_id, self._aliases, default=default, served=ids)):
            for card in self._cards:
                if card.id == name:
                    return card
        raise UnknownModel(f"No such model: {model_id}.", parameter="model")

    def cards(self) -> Sequence[ModelCard]:
        return self._cards

    def refresh(self) -> None:
        """There is nothing to look at again."""
