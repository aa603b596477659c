"""What the core needs from the outside, one Protocol a noun. Implementations pass the suites in `tests/contracts`."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from danqing.core.batches import ANY_BATCH, Batch, BatchFilter
from danqing.core.capabilities import ModelCard
from danqing.core.events import Event
from danqing.core.states import JobState
from danqing.core.submitting import Join, SubmitKey
from danqing.core.types import Artifact, Job, JobFailure, Mode, PoolStatus, Progress


class JobStore(Protocol):
    """The only truth of a job's state. Every call is atomic; an answered `add` or `complete` survives a power cut.

    The moves of a running job carry the attempt's number: a worker that was given up for lost finds its number
    outdated, and its call answers None and changes nothing. Raises StorageFailure when the medium fails.
    """

    async def add(
        self,
        job: Job,
        max_pending: int,
        *,
        batch_size: int = 1,
        max_of_owner: int | None = None,
        join: Join = Join.NONE,
        key: SubmitKey | None = None,
    ) -> Job:
        """Stores a new pending job; returns it with its turn and sequence. Durable on return.

        Its owner's batch of that id is made if there is none, of batch_size; a job beyond that size makes it larger.
        join: returns instead, and stores nothing, the job that `find_equal` finds, if there is one. key: is noted with
        the job; while it counts, the jobs that it was noted with are returned, whatever has become of them.
        Raises QueueFull if max_pending jobs are pending: of calls at once exactly as many are taken as there is room;
        TooManyJobs likewise if max_of_owner of its owner's are, and BatchFull if the batch shows MAX_BATCH_JOBS jobs;
        SubmitKeyReused.
        """
        ...

    async def add_all(
        self,
        jobs: Sequence[Job],
        max_pending: int,
        *,
        batch_sizes: Sequence[int],
        max_of_owner: int | None = None,
        join: Join = Join.NONE,
        key: SubmitKey | None = None,
    ) -> list[Job]:
        """As `add` for several new jobs of one owner at once, each with its batch's size: all of them, or none.

        Those that are joined do not count in the size of the batch that the others make.
        """
        ...

    async def find_key(self, owner: str, key: SubmitKey, now: datetime) -> Sequence[Job] | None:
        """The jobs that the key was noted with; None for one that does not count (any more), or whose jobs are gone.

        Raises SubmitKeyReused if it was noted with another digest.
        """
        ...

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        ...

    async def find_equal(self, owner: str, fingerprint: str, join: Join = Join.ALSO_DONE) -> Job | None:
        """The owner's newest job of this fingerprint that is under way or, if such may be joined too, completed with
        artifacts.
        """
        ...

    async def with_fingerprint(self, prefix: str, owner: str | None) -> Sequence[Job]:
        """Jobs whose fingerprint begins so (8 or more hex digits), of this owner or, with None, of all; newest first.

        At most 20: several only where equal requests were made again, or where 8 digits agree by chance.
        """
        ...

    async def move_up(self, job: Job, priority: int) -> Job | None:
        """A pending job waits at this priority from now on, with the turn of a new one there; a power cut may undo it.

        None, and nothing has changed, if it is not pending, is at this or a higher one already, or was tried so often
        that it lets others go first (`fairness.is_suspect`).
        """
        ...

    async def claim(self, job_id: str, worker: str, now: datetime) -> Job | None:
        """pending → processing with a new attempt. None if it is not pending any more: of N claims one wins.

        None, too, where the store sees to it that an owner has only so many running, and he has.
        """
        ...

    async def generate(
        self, job_id: str, attempt: int, artifacts: Sequence[Artifact], adjustments: Sequence[str]
    ) -> Job | None:
        """processing → generated: the original is stored, more is being made. adjustments as in `complete`. Durable."""
        ...

    async def complete(
        self, job_id: str, attempt: int, artifacts: Sequence[Artifact], adjustments: Sequence[str], now: datetime
    ) -> Job | None:
        """processing or generated → completed; artifacts: those that it did not have before.

        adjustments join those that the job has already. Durable on return.
        """
        ...

    async def give_back(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        """processing or generated → pending, the attempt closed with its failure; a generated job's artifacts go."""
        ...

    async def fail(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        """processing or generated → failed (artifacts stay), or pending → failed with attempt 0."""
        ...

    async def cancel(self, job_id: str, now: datetime) -> Job | None:
        """pending or processing → cancelled. None if its original is stored or it has ended."""
        ...

    async def counts(self) -> Mapping[JobState, int]:
        """Number of jobs in every state, zero included."""
        ...

    async def unfinished_counts(self) -> Mapping[JobState, int]:
        """As `counts`, of states that do not end a job: read quickly, however many have ended.

        Where many processes share the store and thousands wait, as of a moment ago.
        """
        ...

    async def waiting_before(self, job: Job) -> int:
        """How many pending jobs are to be taken before this one, in the order of `fairness.order_of_taking`.

        Where they are more than a thousand: about how many, as of a few seconds ago.
        """
        ...

    async def unfinished(self) -> Sequence[Job]:
        """Pending, processing and generated jobs in the order they will be taken; read at start-up.

        All of them: a store that finds, when it is opened, a job that it cannot read fails that job (StorageFailure).
        """
        ...

    async def artifact_names(self, job_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        """The names of the artifacts of those of these jobs that it knows, by job id; for `ArtifactStore.sweep`."""
        ...

    async def noted_missing(self, *, after: str = "", before: str | None = None, limit: int) -> Mapping[str, bool]:
        """The names of artifacts between these two, by code points and in that order; each with whether its picture is
        noted as missing. At most limit of them.
        """
        ...

    async def note_missing(self, missing: Mapping[str, bool]) -> None:
        """By the name of an artifact, whether its picture is missing; unknown names are fine.

        A completed job that lacks one is not found by `find_equal` until it is noted as present again. Its artifacts
        stay, for a disk may only be away for a while.
        """
        ...


class BatchStore(Protocol):
    """Jobs by the batches that clients see in their history. Raises StorageFailure when the medium fails.

    owner: only this owner's; None: everybody's.
    """

    async def batches(
        self, owner: str | None, *, limit: int, offset: int, wanted: BatchFilter = ANY_BATCH
    ) -> Sequence[Batch]:
        """Newest first, by when a batch's first job came. offset: of those that are wanted."""
        ...

    async def batch(self, batch_id: str, owner: str | None) -> Batch:
        """Raises BatchNotFound. Of several owners' batches of one id the newest."""
        ...

    async def owners(self, batch_id: str) -> Sequence[str]:
        """Who has a batch of this id."""
        ...

    async def forget(self, batch_id: str, owner: str | None) -> None:
        """Takes the batch, as `batch` finds it, out of the history; its jobs go on, and are still found by their ids.

        A job that joins the id later begins a new batch. Durable on return. Raises BatchNotFound.
        """
        ...


class Subscriptions(Protocol):
    """Which jobs a client, by the name that it gives itself, asked for; survives restarts."""

    async def add(self, owner: str, client: str, job_id: str) -> None:
        """Idempotent. Durable on return. Raises StorageFailure."""
        ...

    async def jobs(self, owner: str, client: str, *, ended: int) -> Sequence[Job]:
        """All that are under way, and of those that have ended the newest so many. Newest subscription first."""
        ...


class JobQueue(Protocol):
    """Carries job ids to workers; may deliver an id twice, of a job that has ended, or was never stored: the claim
    decides.
    """

    def offer(self, job: Job) -> bool:
        """Gives a job that is about to be stored to somebody who waits for work, if there is one: he claims it while it
        is being stored. True: he is to be told, whatever becomes of it, by `publish` or `withdraw`.
        """
        ...

    async def publish(self, job: Job) -> None:
        """Makes the pending job known to workers. Idempotent."""
        ...

    async def move_up(self, job: Job) -> None:
        """The pending job has a higher priority than it was published with, or will be."""
        ...

    async def withdraw(self, job_id: str) -> None:
        """Forgets a job that nobody has claimed; unknown ids are fine."""
        ...


class WorkerPool(Protocol):
    """The processes that make pictures."""

    def status(self) -> PoolStatus:
        """As of now; does not wait."""
        ...

    def takes_jobs(self, *, when_loaded: bool) -> bool:
        """Whether what is accepted now will be made (`PoolStatus.accepts_jobs`); with when_loaded, also if that is only
        once models are loaded (`is_coming_up`). For each submit, which needs to know no more.
        """
        ...

    async def stop_job(self, job_id: str) -> None:
        """Makes the worker that runs this job drop it before its next step; unknown ids are fine."""
        ...

    async def send_previews(self, job_id: str) -> None:
        """From now on `PreviewMade` is published for this job's steps, also if it has yet to begin; unknown ids are
        fine.
        """
        ...


class EventBus(Protocol):
    """Tells watchers what happens to jobs."""

    def publish(self, event: Event) -> None:
        """Never blocks. A slow watcher loses progress first, states never."""
        ...

    def watch(self, job_id: str, *, only_states: bool = False) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Events of one job from the moment the context is entered. only_states: nothing but `StateChanged`.

        Ends when the bus is closed, and may once the job is removed.
        """
        ...

    async def progress(self, job_id: str) -> Progress | None:
        """The newest progress of a running job; None before its first step and once it has ended (`ProgressBoard`)."""
        ...


class ModelCatalogue(Protocol):
    """The models that this server offers."""

    def default(self, *, mode: Mode | None = None, instructed: bool = False) -> ModelCard:
        """What a client gets that names no model. mode: what it asks for. instructed: by an instruction. Where the
        usual model cannot do that, it is the first that can, if there is one.
        """
        ...

    def card(self, model_id: str, *, mode: Mode | None = None, instructed: bool = False) -> ModelCard:
        """The model of that id, or that it is an alias of (`model_names.py`), `default` as above. Raises UnknownModel,
        for the upscaler (`upscaling.py`) too, which is no model.
        """
        ...

    def cards(self) -> Sequence[ModelCard]:
        """All, the default first."""
        ...

    def refresh(self) -> None:
        """Looks again which LoRAs there are. Blocking, short; callable from any thread."""
        ...
