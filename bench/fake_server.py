"""`danqing serve` with an engine that takes no time: what is measured is the house around it, not the device.

`python fake_server.py [--idle] [--no-group-commit]`; settings as ever. --idle: it keeps its first job, so that all the
others wait. --no-group-commit: every write has a transaction, and an fsync, of its own; everything else is the same.
"""

import sys

from danqing.cli.options import settings_from
from danqing.cli.serve import run_server
from danqing.workers.factory import EngineFactory


def main() -> None:
    """Runs until a signal."""
    if "--no-group-commit" in sys.argv[1:]:
        from danqing.store import writer  # here, for a worker imports this file too

        writer.MAX_CALLS_PER_TRANSACTION = 1
    is_idle = "--idle" in sys.argv[1:]
    run_server(settings_from(), engine=EngineFactory(target="fake_engine:FakeEngine", argument=is_idle))


if __name__ == "__main__":
    main()
