"""`danqing serve` that stops itself (SIGSTOP), once, while it holds the lock under which jobs of dead nodes are given
back: `python -m tests.e2e.stopping_api FOLDER`; settings as ever. FOLDER/stopped is there from then on.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from danqing.cli.options import UserError, settings_from
from danqing.cli.serve import run_server
from danqing.core.errors import DanqingError
from danqing.store import advisory_locks
from danqing.workers.settlement import Settlement
from tests.chaos.points import wrap

SILENT_S = 6.0  # instead of half a minute


def main(folder: Path) -> None:
    """Runs until a signal."""

    def stops_once(give_back: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def stopping(*arguments: object) -> object:
            if not (mark := folder / "stopped").exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGSTOP)
            return await give_back(*arguments)

        return stopping

    wrap(advisory_locks, "SILENT_S", lambda _: SILENT_S)
    wrap(Settlement, "failed_once", stops_once)
    try:
        run_server(settings_from())
    except (DanqingError, UserError) as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
