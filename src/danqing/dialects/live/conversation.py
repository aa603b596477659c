"""What a client says, done: its four kinds of messages, each answered over its connection."""

import asyncio
import re
from collections.abc import Generator, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace

import structlog

from danqing.core.callers import Caller
from danqing.core.errors import ArtifactNotFound, DanqingError, JobNotFound
from danqing.core.orders import Order
from danqing.core.states import JobState
from danqing.core.submitting import Join
from danqing.core.types import Artifact, Job
from danqing.dialects.live.clients import MAX_ENDED, Client, Clients, Recipient
from danqing.dialects.live.connection import MAX_FOLLOWED, TOO_MANY, Connection
from danqing.dialects.live.elsewhere import Elsewhere
from danqing.dialects.live.errors import Malformed, error_message
from danqing.dialects.live.schemas import (
    CancelJob,
    ClientMessage,
    CreateJob,
    Error,
    GetClientJobs,
    GetStatus,
    RequestId,
    is_integer,
)
from danqing.dialects.live.translate_in import to_draft, to_message, wants_previews
from danqing.dialects.live.translate_out import from_job, from_jobs
from danqing.http.dialect import Services

NOT_ALL = f"Of your jobs {MAX_FOLLOWED} are followed here; get_client_jobs adds others when some of them have ended."
_AT_ONCE = 100  # jobs that are told before others get their turn in the event loop
_JOB_ID = re.compile(r"[0-9a-f]{64}")
_CLIENT, _REQUEST_ID = "client_id", "request_id"  # of a job's metadata

_log = structlog.get_logger(__name__)


class Conversation:
    """One client, named or not, over one connection."""

    def __init__(
        self,
        *,
        services: Services,
        clients: Clients,
        elsewhere: Elsewhere,
        caller: Caller,
        client: Client | None,
        connection: Connection,
    ) -> None:
        self._services = services
        self._clients = clients
        self._elsewhere = elsewhere
        self._caller = caller
        self._client = client
        self._connection = connection
        self._moves: set[asyncio.Task[None]] = set()

    async def resume(self) -> None:
        """Follows again what the client asked for earlier, and tells how that ended which it does not know of."""
        if self._client is not None:
            followed = self._connection.followed
            await self._follow(self._client, await self._jobs(self._client), but=followed)

    async def answer(self, text: str) -> None:
        """Does what the frame says. Whatever is wrong with it is told, and the conversation goes on."""
        request_id = None
        try:
            message = to_message(text)
            request_id = message.request_id
            await self._do(message)
        except Malformed as exc:
            self._refuse(exc.message, request_id if exc.request_id is None else exc.request_id)
        except DanqingError as exc:
            self._connection.say(error_message(exc, request_id))
        except Exception as exc:  # the top of a message: whatever it is, the client gets an answer
            _log.error("message_failed", error=type(exc).__name__, exc_info=exc)
            self._connection.say(error_message(DanqingError(), request_id))

    def refuse_binary(self) -> None:
        """For a frame that is no text."""
        self._refuse("Messages must be JSON in text frames.", None)

    async def _do(self, message: ClientMessage) -> None:
        match message:
            case CreateJob():
                await self._create(message)
            case GetStatus():
                with self._connection.looking():
                    job = self._connection.newest(await self._job(message.job_id))
                self._tell(job, message.request_id)
            case CancelJob():
                job = await self._job(message.job_id)
                self._tell(await self._services.studio.cancel(job.id, caller=self._caller), message.request_id)
            case GetClientJobs():
                await self._list(message)

    async def _create(self, message: CreateJob) -> None:
        """Goes on even if the connection breaks meanwhile: then another one of the client is told."""
        if self._connection.is_full:
            raise Malformed(TOO_MANY)
        task = asyncio.create_task(self._accept(message))
        self._moves.add(task)  # the event loop alone would let it be collected
        task.add_done_callback(self._moves.discard)
        await asyncio.shield(task)

    async def _accept(self, message: CreateJob) -> None:
        job, previews = await self._submit(message), wants_previews(message)
        with self._watched(job, previews):
            if self._client is not None:
                await self._services.subscriptions.add(self._client.owner, self._client.name, job.id)
                self._clients.asked(self._client, job.id, message.request_id)
            for recipient in self._recipients():
                recipient.follow(job, message.request_id, previews=previews)
            if self._client is not None:
                self._elsewhere.asked(self._client, job, message.request_id, previews=previews)

    @contextmanager
    def _watched(self, job: Job, previews: bool) -> Generator[None]:
        """Its first steps may come before the subscription is stored."""
        recipients = self._recipients()
        for recipient in recipients:
            recipient.prepare(job, previews=previews)
        try:
            yield
        finally:
            for recipient in recipients:
                recipient.abandon(job)

    def _recipients(self) -> Sequence[Recipient]:
        return self._clients.recipients(self._client) if self._client is not None else (self._connection,)

    async def _submit(self, message: CreateJob) -> Job:
        metadata = {_CLIENT: self._client.name, _REQUEST_ID: message.request_id} if self._client else {}
        draft = to_draft(message, self._services.studio.catalogue.cards())
        order = Order(draft=draft, join=Join.ALSO_DONE, metadata=metadata, waits_for_model=True)
        job = await self._services.studio.submit(order, caller=self._caller)
        if job.state is JobState.COMPLETED and not await self._is_there(job.artifacts):
            # For all who find that at this moment, one is made.
            return await self._services.studio.submit(replace(order, join=Join.UNDER_WAY), caller=self._caller)
        return job

    async def _is_there(self, artifacts: Sequence[Artifact]) -> bool:
        """Somebody may have removed the files."""
        try:
            for artifact in artifacts:
                await asyncio.to_thread(self._services.artifacts.size, artifact.name)
        except ArtifactNotFound:
            return False
        return True

    async def _job(self, job_id: str) -> Job:
        """The newest job of that id on the wire; the caller's own, if he has one. Raises JobNotFound."""
        if not _JOB_ID.fullmatch(job_id):
            raise JobNotFound
        jobs = await self._services.studio.with_fingerprint(job_id, caller=self._caller)
        job = min(jobs, key=lambda each: each.owner != self._caller.owner, default=None)
        if job is None:
            raise JobNotFound
        return job

    async def _list(self, message: GetClientJobs) -> None:
        if self._client is None:
            raise Malformed("get_client_jobs needs a client_id: connect to /api/ws?client_id=…")
        followed = self._connection.followed
        with self._connection.looking():
            jobs = [self._connection.newest(job) for job in await self._jobs(self._client)]
        self._connection.say(from_jobs(jobs, request_id=message.request_id, sign=self._services.links.sign))
        await self._follow(self._client, [job for job in jobs if not job.state.is_final], but=followed)

    async def _jobs(self, client: Client) -> Sequence[Job]:
        return await self._services.subscriptions.jobs(client.owner, client.name, ended=MAX_ENDED)

    async def _follow(self, client: Client, jobs: Sequence[Job], *, but: Set[tuple[str, RequestId | None]]) -> None:
        """The oldest first, as they end first; if not all can be followed, that is told.

        jobs: the newest first. but: what was followed before they were looked up, and may have been told to its end.
        """
        is_short = False
        for number, job in enumerate(reversed(jobs), start=1):
            if not number % _AT_ONCE:
                await asyncio.sleep(0)
            if job.state.is_final and self._clients.knows_end(client, job.id):
                continue
            for request_id in self._request_ids(client, job):
                if (job.id, request_id) in but or self._connection.follows(job, request_id):
                    continue
                if job.state.is_final or not self._connection.is_full:
                    self._connection.follow(job, request_id)
                else:
                    is_short = True
        if is_short:
            self._refuse(NOT_ALL, None)

    def _request_ids(self, client: Client, job: Job) -> Sequence[RequestId | None]:
        """After a restart only the job itself knows under which id its first client asked for it."""
        if known := self._clients.request_ids(client, job.id):
            return known
        first = job.metadata.get(_REQUEST_ID)
        is_his = job.metadata.get(_CLIENT) == client.name
        return (first if is_his and (isinstance(first, str) or is_integer(first)) else None,)

    def _tell(self, job: Job, request_id: RequestId | None) -> None:
        self._connection.say(from_job(job, request_id=request_id, sign=self._services.links.sign))

    def _refuse(self, message: str, request_id: RequestId | None) -> None:
        self._connection.say(Error(type="error", message=message, request_id=request_id))
