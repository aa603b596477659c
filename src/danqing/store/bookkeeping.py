"""What depends on how many processes write to a database: who waits for whom, room for jobs, and their number."""

from collections.abc import Mapping
from typing import Protocol

from sqlalchemy import Connection

from danqing.core.states import JobState


class Bookkeeping(Protocol):
    """`OneWriter` or `ManyWriters`. What takes a connection is called within a transaction that writes.

    claims_last: whether claims and give-backs are synced. They must be where the database can die without those who
    claimed: a claim that is lost makes two work at one attempt. is_shared: whether other processes, of other versions
    perhaps, take the same jobs.
    """

    claims_last: bool
    is_shared: bool

    def enter(self, connection: Connection, owner: str) -> None:
        """Jobs of this owner are about to be added: whoever adds others for him waits until the transaction ends."""
        ...

    def enter_running(self, connection: Connection, owner: str) -> None:
        """A job of this owner is about to be claimed: whoever claims others of his waits until the transaction ends."""
        ...

    def take_room(self, connection: Connection, jobs: int, max_pending: int) -> bool:
        """Takes room for so many new jobs. False, and nothing taken, if more than max_pending would be pending."""
        ...

    def may_wait_again(self) -> None:
        """A job that was not pending is about to become so. Called within a transaction."""
        ...

    def room_committed(self) -> None:
        """A transaction is committed in which room was taken, or refused. Called in the thread that wrote."""
        ...

    def moved(self, before: JobState | None, after: JobState) -> None:
        """A job was committed in this state. before: None if it is new. Called in the thread that wrote."""
        ...

    def removed(self, ended: Mapping[JobState, int]) -> None:
        """So many jobs, by how they had ended, are there no more. Called in the thread that wrote."""
        ...

    async def counts(self) -> Mapping[JobState, int]:
        """As `JobStore.counts`."""
        ...

    async def unfinished_counts(self) -> Mapping[JobState, int]:
        """As `JobStore.unfinished_counts`."""
        ...
