"""An API process (`danqing serve`) with strikes in it: `python -m tests.chaos.api FOLDER`; settings as ever."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from danqing.cli.options import UserError, settings_from
from danqing.cli.serve import run_server
from danqing.core import reconciling
from danqing.core.errors import DanqingError
from danqing.queue.celery_publisher import CeleryPublisher
from danqing.store import moves
from danqing.store.job_store import SqlJobStore
from danqing.wiring import api as wiring_api
from tests.chaos.points import ClusterPoint, die, wrap
from tests.chaos.striking import dies_after, with_little_patience

SWEPT_AFTER_S = 1.0  # how old a picture must be that no ended job has


def main(folder: Path) -> None:
    """Runs until a signal, or a strike."""
    with_little_patience()
    wrap(reconciling, "SHARED_AFTER_S", lambda _: SWEPT_AFTER_S)
    wrap(wiring_api, "FIRST_WITHIN_S", lambda _: 0.0)
    wrap(moves, "add", partial(_struck_add, folder))
    wrap(SqlJobStore, "add_all", partial(dies_after, folder, ClusterPoint.BEFORE_ANSWER))
    wrap(CeleryPublisher, "publish", partial(dies_after, folder, ClusterPoint.PUBLISHED, of_nothing=True))
    try:
        run_server(settings_from())
    except (DanqingError, UserError) as exc:
        sys.exit(str(exc))


def _struck_add(folder: Path, add: Callable[..., object]) -> Callable[..., object]:
    def struck(connection: Connection, **named: object) -> object:
        added = add(connection, **named)
        if ClusterPoint.BEFORE_COMMIT.strikes(folder):
            die()
        return added

    return struck


if __name__ == "__main__":
    main(Path(sys.argv[1]))
