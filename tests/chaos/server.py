"""`danqing serve` with strikes in it: `python -m tests.chaos.server FOLDER`; settings as ever.

The product knows nothing of this: what is struck is wrapped here, before the server starts.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from danqing.cli.options import UserError, settings_from
from danqing.cli.serve import run_server
from danqing.core import studio
from danqing.core.errors import DanqingError
from danqing.store import connections, moves
from danqing.store.job_store import SqlJobStore
from danqing.store.writer import GroupCommitWriter
from danqing.workers.factory import EngineFactory
from tests.chaos.points import Point, die, wrap
from tests.chaos.striking import dies_after, with_little_patience

FULL_S = 0.5
JUMP = timedelta(days=1)


def main(folder: Path) -> None:
    """Runs until a signal, or a strike."""
    _be_impatient()
    disk = _FullDisk()
    wrap(GroupCommitWriter, "_run_batch", disk.around)
    wrap(moves, "add", partial(_struck_add, folder, disk))
    wrap(SqlJobStore, "add_all", partial(dies_after, folder, Point.BEFORE_ANSWER))
    wrap(SqlJobStore, "claim", partial(dies_after, folder, Point.CLAIMED))
    wrap(SqlJobStore, "complete", partial(dies_after, folder, Point.COMMITTED))
    _strike_clock(folder)
    try:
        run_server(settings_from(), engine=EngineFactory(target="tests.chaos.engine:build_engine", argument=folder))
    except (DanqingError, UserError) as exc:
        sys.exit(str(exc))


def _be_impatient() -> None:
    with_little_patience()
    wrap(connections, "BUSY_TIMEOUT_MS", lambda _: 300)


class _FullDisk:
    """SQLite itself says that it is full for a while: its file may not grow."""

    def __init__(self) -> None:
        self._until: float | None = None

    def strike(self, connection: Connection) -> None:
        """From now on, in the writing thread."""
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        self._until = time.monotonic() + FULL_S

    def around(self, run_batch: Callable[[GroupCommitWriter, Any], None]) -> Callable[[GroupCommitWriter, Any], None]:
        """Ends it before the first transaction after that while."""

        def run(writer: GroupCommitWriter, batch: Any) -> None:  # noqa: ANN401 - the writer's own
            if self._until is not None and time.monotonic() > self._until:
                vars(writer)["_driver"].execute(f"PRAGMA max_page_count = {1 << 30}")
                self._until = None
            run_batch(writer, batch)

        return run


def _struck_add(folder: Path, disk: _FullDisk, add: Callable[..., object]) -> Callable[..., object]:
    def struck(connection: Connection, **named: object) -> object:
        if Point.DISK_FULL.strikes(folder):
            disk.strike(connection)
        added = add(connection, **named)
        if Point.BEFORE_COMMIT.strikes(folder):
            die()
        return added

    return struck


def _strike_clock(folder: Path) -> None:
    """The clock goes forward and back by turns, for everything that asks the core, and for `time.time`."""
    true_time, offset = time.time, timedelta()

    class Jumping(datetime):
        """A datetime whose now jumps."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            nonlocal offset
            if Point.CLOCK.strikes(folder):
                offset = -JUMP if offset > timedelta() else JUMP
            return datetime.now(tz or UTC) + offset

    wrap(studio, "datetime", lambda _: Jumping)
    wrap(time, "time", lambda _: lambda: true_time() + offset.total_seconds())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
