"""What is kept of jobs that have ended, and what that takes: for quotas, and for the janitor who removes it."""

import asyncio
import itertools
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

from danqing.core.errors import ArtifactNotFound
from danqing.core.picture_ports import ArtifactStore
from danqing.core.types import Job

# However short of room: somebody may be about to fetch it, and signed addresses are good for so long.
KEPT_AT_LEAST = timedelta(hours=1)
SIZES_KEPT = 100_000  # of pictures that were sent, in memory
ONE_BY_ONE = 100  # are asked for each by its name; of more, all that there are is listed


class KeptJobs(Protocol):
    """The jobs of the store, seen as what takes room. Raises StorageFailure when the medium fails.

    owner: only this owner's; None: everybody's.
    """

    async def now(self) -> datetime:
        """The present moment by the clock of the store, which is one for all who share it: theirs may be wrong."""
        ...

    async def accepted_since(self, moment: datetime) -> Sequence[tuple[str, datetime]]:
        """Owner and time of each job accepted later, oldest first."""
        ...

    async def ended_before(self, moment: datetime, *, now: datetime, after: int, limit: int) -> Sequence[Job]:
        """Jobs that ended earlier, in the order in which they were accepted, from the one after that sequence on.

        Empty only where there are no more. now: a job that was accepted later was so while the clock was wrong.
        """
        ...

    async def artifact_bytes(self, owner: str | None) -> int:
        """Of all artifacts."""
        ...

    async def input_names(self, owner: str | None) -> frozenset[str]:
        """Of all pictures that jobs start from; of a job that comes while it is read, possibly."""
        ...

    async def begin_removal(self, job_ids: Collection[str]) -> None:
        """Their pictures are about to go: from now on `JobStore.find_equal` finds none of them."""
        ...

    async def remove(self, job_ids: Collection[str]) -> int:
        """Forgets those that have ended, in the history too; returns how many. Durable on return."""
        ...


class KeptBytes:
    """Adds up what pictures take: those that were made, and those that clients sent, each of these once."""

    def __init__(self, kept: KeptJobs, artifacts: ArtifactStore) -> None:
        self._kept = kept
        self._artifacts = artifacts
        self._sent: dict[str, int] = {}

    async def of(self, owner: str | None) -> int:
        """owner: see `KeptJobs`. Raises StorageFailure."""
        names = await self._kept.input_names(owner)
        return await self._kept.artifact_bytes(owner) + sum((await self.sent(names)).values())

    async def sent(self, names: Collection[str]) -> Mapping[str, int]:
        """What these pictures take that clients sent; of those that are there. Raises StorageFailure."""
        return await asyncio.to_thread(self._sizes_of, names)

    def _sizes_of(self, names: Collection[str]) -> Mapping[str, int]:
        """A name is made from the content, so that its size never changes: it is asked for once. Blocking."""
        sizes = {name: self._sent[name] for name in names if name in self._sent}
        unknown = [name for name in names if name not in sizes]
        if len(unknown) > ONE_BY_ONE:
            found = self._artifacts.inputs()
            sizes |= {name: found[name] for name in unknown if name in found}
        else:
            for name in unknown:
                with suppress(ArtifactNotFound):
                    sizes[name] = self._artifacts.size(name)
        if len(self._sent) + len(sizes) > SIZES_KEPT:
            self._sent = {}
        self._sent |= dict(itertools.islice(sizes.items(), SIZES_KEPT))
        return sizes
