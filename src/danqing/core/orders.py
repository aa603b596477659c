"""What a dialect asks the Studio for, and how much of it the Studio takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from danqing.core.batches import BatchPlace
from danqing.core.submitting import Join
from danqing.core.types import RequestDraft


@dataclass(frozen=True, kw_only=True)
class Limits:
    """max_queue_size: pending jobs held at most, in all; max_queue_of_owner: of one owner, None for no limit.

    max_priority: of callers who see only their own jobs; None for any.
    cancel_abandoned: whether attended jobs are cancelled once all who waited for them have left.
    """

    max_queue_size: int
    max_queue_of_owner: int | None = None
    max_priority: int | None = None
    cancel_abandoned: bool = True


@dataclass(frozen=True, kw_only=True)
class Order:
    """A draft and how its job is to be treated.

    priority: higher first, within a signed 32-bit integer. batch: where the history shows it; None for a batch of its
    own. metadata: JSON values told again in answers. join: which equal job of the same owner is returned instead of a
    new one, also while no model is loaded or the queue is full. waits_for_model: accepted also before the models are
    loaded for the first time, to wait for that. attended: whoever submits it waits for its end at once, is not told its
    id before, and calls `Studio.leave` when he waits no more.
    """

    draft: RequestDraft
    priority: int = 0
    batch: BatchPlace | None = None
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    join: Join = Join.NONE
    waits_for_model: bool = False
    attended: bool = False

    @property
    def joins(self) -> Join:
        """As `join`, but nothing equals a request whose seed has yet to be drawn."""
        return self.join if self.draft.seed is not None else Join.NONE
