"""Several witnesses as one."""

import inspect
from typing import Any, cast

from danqing.core.witness import JobWitness, StageTimes, Witnesses
from tests.fakes.domain import LOST, a_job


class Notes:
    """Remembers every call, whatever its name."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[object, ...], dict[str, object]]] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any method
        return lambda *args, **named: self.calls.append((name, args, named))


def test_each_is_told_everything_in_the_same_words() -> None:
    one, other, job = Notes(), Notes(), a_job()
    times = StageTimes(denoise_s=1.0, finish_s=2.0)
    told: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("accepted", (job,), {}),
        ("joined", (job, "equal"), {}),
        ("refused", ("queue_full", 2), {}),
        ("began", ([job], "w1"), {}),
        ("step_done", (job,), {}),
        ("generated", (job,), {}),
        ("attempt_failed", (job, LOST), {"again": True}),
        ("dropped", (job.id,), {}),
        ("ended", (job, times), {}),
    ]
    both: Any = Witnesses(*cast("tuple[JobWitness, ...]", (one, other)))
    for name, args, named in told:
        getattr(both, name)(*args, **named)
    assert one.calls == other.calls == told
    # And nothing was forgotten here
    assert {name for name, _, _ in told} == {
        name for name, _ in inspect.getmembers(JobWitness, inspect.isfunction) if not name.startswith("_")
    }
