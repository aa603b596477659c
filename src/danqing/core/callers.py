"""Who asks: an owner of jobs, who may see his own, or everybody's."""

from dataclasses import dataclass

from danqing.core.types import Job

_OWNER_DIGITS = 32


@dataclass(frozen=True, kw_only=True)
class Caller:
    """owner: to whom the jobs that he submits belong; never a key itself. sees_all: he may see everybody's jobs.

    own_history: his history lists his own all the same: he named a key where none is needed.
    """

    owner: str
    sees_all: bool = False
    own_history: bool = False

    def may_see(self, job: Job) -> bool:
        """Whether the job exists, as far as this caller is concerned."""
        return self.sees_all or job.owner == self.owner

    @property
    def scope(self) -> str | None:
        """The owner whose jobs he may see; None for everybody's."""
        return None if self.sees_all else self.owner

    @property
    def history(self) -> str | None:
        """The owner whose batches he is shown; None for everybody's."""
        return self.owner if self.own_history else self.scope


def owner_of(digest: str) -> str:
    """What the bearer of the key with this SHA-256 (hex) is called."""
    return f"key-{digest[:_OWNER_DIGITS]}"


LOCAL = Caller(owner="local", sees_all=True)  # everybody who names no key while authentication is off
