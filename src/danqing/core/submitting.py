"""What a submit may say beside its request: which equal jobs it joins, and by which key it knows itself again."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

KEY_LIFETIME = timedelta(hours=24)


class Join(Enum):
    """Which equal job of the same owner is returned instead of a new one."""

    NONE = "none"
    UNDER_WAY = "under way"
    ALSO_DONE = "also done"  # one that has its picture already, too


@dataclass(frozen=True, kw_only=True)
class SubmitKey:
    """Submits of one owner with the same key are one submit, however often it is sent: the first one's jobs answer.

    text: the client's own (`Idempotency-Key`). digest: of all that the submit says, 64 hex digits; with another one it
    is no repetition. lifetime: how long after the first submit the key counts.
    """

    text: str
    digest: str
    lifetime: timedelta = KEY_LIFETIME
