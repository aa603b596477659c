"""What an error tells of the request it answers: the task, and the model and mode as the client named them."""

import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self, cast

from fastapi.exceptions import RequestValidationError

from danqing.dialects.genserve.schemas import DEFAULT_MODE, DEFAULT_MODEL, Wanted

_LONGEST = 200  # characters of a name that is told again
_NOTE = "genserve_echo"


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, kw_only=True)
class Echo:
    """task_id: of the accepted job; without one a new one."""

    model_id: str = DEFAULT_MODEL
    mode: str = DEFAULT_MODE
    task_id: str = field(default_factory=_new_id)

    @classmethod
    def of(cls, wanted: Wanted, **others: str) -> Self:
        """others: `task_id`."""
        return cls(model_id=_readable(wanted.model_id) or DEFAULT_MODEL, mode=wanted.mode or DEFAULT_MODE, **others)

    @classmethod
    def of_body(cls, body: object) -> Self:
        """As much as a body that was refused lets one read."""
        fields = cast("dict[str, object]", body) if isinstance(body, dict) else dict[str, object]()
        return cls(
            model_id=_readable(fields.get("model_id")) or DEFAULT_MODEL,
            mode=_readable(fields.get("mode")) or DEFAULT_MODE,
        )


def _readable(value: object) -> str:
    """The text that value is; empty if it is none, or none that can be sent."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return ""
    return value.encode("utf-8", "ignore").decode()


@contextmanager
def echoing(echo: Echo) -> Generator[None]:
    """An error that leaves the context has this echo, unless it has one already."""
    try:
        yield
    except Exception as exc:
        vars(exc).setdefault(_NOTE, echo)
        raise


def echo_of(error: Exception) -> Echo:
    """Of the request that the error came of."""
    if isinstance(echo := vars(error).get(_NOTE), Echo):
        return echo
    return Echo.of_body(error.body) if isinstance(error, RequestValidationError) else Echo()
