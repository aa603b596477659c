"""What servers, API processes and nodes with strikes in them have in common."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from danqing.wiring import rules
from danqing.workers.spec import WorkerRules
from tests.chaos.points import Strike, die, wrap

P = ParamSpec("P")
T = TypeVar("T")


def with_little_patience() -> None:
    """The rules as they are, with times that fit steps of a few milliseconds."""
    quick = partial(WorkerRules, heartbeat_s=0.2, heartbeat_timeout_s=1.5, check_s=0.2, max_backoff_s=0.5)
    wrap(rules, "WorkerRules", lambda _: quick)


def dies_after(
    folder: Path, point: Strike, call: Callable[P, Awaitable[T]], *, of_nothing: bool = False
) -> Callable[P, Awaitable[T]]:
    """It is done, and nobody knows yet. of_nothing: also if the call has nothing to answer."""

    async def struck(*args: P.args, **named: P.kwargs) -> T:
        answer = await call(*args, **named)
        if (of_nothing or answer is not None) and point.strikes(folder):
            die()
        return answer

    return struck
