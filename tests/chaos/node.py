"""A node (`danqing worker`) with strikes in it: `python -m tests.chaos.node FOLDER`; settings as ever."""

import sys
from functools import partial
from pathlib import Path

from danqing.cli.options import UserError, settings_from
from danqing.cli.worker import run_worker
from danqing.core.errors import DanqingError
from danqing.store.job_store import SqlJobStore
from danqing.workers.factory import EngineFactory
from tests.chaos.points import ClusterPoint, wrap
from tests.chaos.striking import dies_after, with_little_patience


def main(folder: Path) -> None:
    """Runs until a signal, or a strike."""
    with_little_patience()
    wrap(SqlJobStore, "claim", partial(dies_after, folder, ClusterPoint.CLAIMED))
    wrap(SqlJobStore, "complete", partial(dies_after, folder, ClusterPoint.COMMITTED))
    try:
        run_worker(settings_from(), engine=EngineFactory(target="tests.chaos.engine:build_engine", argument=folder))
    except (DanqingError, UserError) as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
