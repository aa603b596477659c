"""A client's connections at other API processes: they are told of the jobs that it asks for at this one."""

import asyncio

from pydantic import BaseModel, ConfigDict, ValidationError

from danqing.core.callers import Caller
from danqing.core.errors import DanqingError
from danqing.core.types import Job
from danqing.dialects.live.clients import Client, Clients
from danqing.dialects.live.schemas import RequestId
from danqing.http.dialect import Services

TOPIC = "live"


class _Asked(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    owner: str
    client: str
    job_id: str
    request_id: RequestId | None
    previews: bool


class Elsewhere:
    """One for all connections of an app. For one event loop."""

    def __init__(self, *, services: Services, clients: Clients) -> None:
        self._services = services
        self._clients = clients
        self._telling: set[asyncio.Task[None]] = set()
        services.neighbours.hear(TOPIC, self._heard)

    def asked(self, client: Client, job: Job, request_id: RequestId | None, *, previews: bool) -> None:
        """The client has asked here for the job."""
        asked = _Asked(owner=client.owner, client=client.name, job_id=job.id, request_id=request_id, previews=previews)
        self._services.neighbours.say(TOPIC, asked.model_dump_json())

    def _heard(self, words: str) -> None:
        try:
            asked = _Asked.model_validate_json(words)
        except ValidationError:  # of another version
            return
        client = Client(owner=asked.owner, name=asked.client)
        if self._clients.is_here(client):
            task = asyncio.create_task(self._tell(client, asked))
            self._telling.add(task)  # the event loop alone would let it be collected
            task.add_done_callback(self._telling.discard)

    async def _tell(self, client: Client, asked: _Asked) -> None:
        try:
            job = await self._services.studio.get(asked.job_id, caller=Caller(owner=client.owner))
        except DanqingError:  # it is told when it comes again
            return
        self._clients.asked(client, job.id, asked.request_id)
        for recipient in self._clients.recipients(client):
            recipient.follow(job, asked.request_id, previews=asked.previews)
