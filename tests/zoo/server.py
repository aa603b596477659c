"""`danqing serve` with zoo engines and little patience: `python -m tests.zoo.server FOLDER [LOAD]`."""

import sys
from functools import partial
from pathlib import Path
from typing import Protocol

from danqing.cli.options import UserError, settings_from
from danqing.cli.serve import run_server
from danqing.config import Settings
from danqing.core.errors import DanqingError
from danqing.wiring import rules
from danqing.workers.factory import EngineFactory
from danqing.workers.job_rules import JobRules
from danqing.workers.spec import WorkerRules
from tests.zoo.engines import Zoo


class Run(Protocol):
    """What a process does until it is told to end."""

    def __call__(self, settings: Settings, *, engine: EngineFactory | None = None) -> object: ...


# The rules as they are, with times that fit steps of no time at all. How long a worker may be silent stays as it is: on
# a busy machine one that is well may say nothing for a while, and one that stopped before it had told its first step
# is found in less than a job's time all the same.
PATIENCE = {
    "heartbeat_s": 0.2,
    "check_s": 0.2,
    "step_timeout_s": 3.0,
    "step_factor": 1.0,
    "max_backoff_s": 0.5,
}


def main(folder: Path, load: str, run: Run = run_server) -> None:
    """Runs until a signal."""
    setattr(rules, "WorkerRules", partial(WorkerRules, **PATIENCE))  # noqa: B010 - another module's
    setattr(rules, "JobRules", partial(JobRules, stop_grace_s=0.5))  # noqa: B010
    engine = EngineFactory(target="tests.zoo.engines:build_zoo", argument=Zoo(folder=folder, load=load))
    try:
        run(settings_from(), engine=engine)
    except (DanqingError, UserError) as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else "fine")
