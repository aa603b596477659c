"""What the processes around a `House` have: one side for each that answers clients, and one that makes pictures.

In memory all of them are one. `DANQING_TEST_HOUSE=scaled` has two API processes and a worker's side, which know of each
other only what goes through a real PostgreSQL, Redis and S3, though all live in the test's own process.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from danqing.blobs.local import LocalArtifactStore
from danqing.core.attendance import Attendance, LocalAttendance
from danqing.core.neighbours import Neighbours, NoNeighbours
from danqing.core.picture_ports import ArtifactStore
from danqing.core.ports import WorkerPool
from danqing.core.studio import Studio
from danqing.core.tickets import Tickets
from danqing.events.in_process import InProcessEventBus
from danqing.http.tickets import LocalTickets
from tests.fakes.issued_keys import InMemoryIssuedKeys
from tests.fakes.job_store import InMemoryBatchStore, InMemoryJobStore, InMemoryKeptJobs, InMemorySubscriptions

if TYPE_CHECKING:
    from tests.fakes.painter import Painter

VARIABLE = "DANQING_TEST_HOUSE"
IS_SCALED = os.environ.get(VARIABLE) == "scaled"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One process. Any: real stores and those in memory, which tests look into, are not of one type."""

    store: Any
    batches: Any
    subscriptions: Any
    kept: Any
    issued_keys: Any
    events: Any
    pool: Callable[["Painter"], WorkerPool]
    attendance: Attendance
    tickets: Tickets
    neighbours: Neighbours = field(default_factory=NoNeighbours)


class Sides(Protocol):
    """All of a house. workers: of the painter; what tests look into. worker: what the painter is called."""

    worker: str
    apis: tuple[Side, ...]
    workers: Side
    artifacts: ArtifactStore

    async def open(self, painter: "Painter") -> None:
        """Connects them, in the present event loop, if that has not been done."""
        ...

    async def close(self) -> None:
        """In the loop in which it was opened; fine if it was not."""
        ...


class InMemorySides:
    """Nothing to open, and nothing to close."""

    worker = "painter"

    def __init__(self, root: Path) -> None:
        store = InMemoryJobStore()
        self.workers = Side(
            store=store,
            batches=InMemoryBatchStore(store),
            subscriptions=InMemorySubscriptions(store),
            kept=InMemoryKeptJobs(store),
            issued_keys=InMemoryIssuedKeys(),
            events=InProcessEventBus(),
            pool=lambda painter: painter,
            attendance=LocalAttendance(),
            tickets=LocalTickets(),
        )
        self.apis = (self.workers,)
        self.artifacts: ArtifactStore = LocalArtifactStore(root)

    async def open(self, painter: "Painter") -> None:
        """See `Sides`."""

    async def close(self) -> None:
        """See `Sides`."""


def sides_at(root: Path) -> Sides:
    """As the environment wants them. root: a folder for what is local."""
    if IS_SCALED:
        from tests.dialects.scaled_sides import ScaledSides

        return ScaledSides(root)
    return InMemorySides(root)


def start_services() -> None:
    """Those that all sides use. They end with the thread that starts them."""
    if IS_SCALED:
        from tests.dialects import scaled_sides

        scaled_sides.start_services()


class AllStop:
    """The first of several Studios; but all stop together, as when the whole installation is ended."""

    def __init__(self, studios: Sequence[Studio]) -> None:
        self._studios = studios

    def stop_accepting(self) -> None:
        """See the Studio."""
        for studio in self._studios:
            studio.stop_accepting()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a Studio has
        return getattr(self._studios[0], name)


class InTurn:
    """An ASGI app that gives each request, and each WebSocket, to the next of several. What else is asked of it, the
    first one answers.
    """

    def __init__(self, *apps: ASGIApp, before: Callable[[], Awaitable[None]]) -> None:
        """before: done before each request."""
        self._apps = apps
        self._before = before
        self._turn = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._apps[0](scope, receive, send)
            return
        await self._before()
        self._turn += 1
        await self._apps[self._turn % len(self._apps)](scope, receive, send)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a FastAPI has
        return getattr(self._apps[0], name)
