"""`danqing serve` with a zoo engine in its workers: `python -m tests.e2e.zoo_server FOLDER`; settings as ever."""

import sys
from pathlib import Path

from danqing.cli.options import UserError, settings_from
from danqing.cli.serve import run_server
from danqing.core.errors import DanqingError
from danqing.workers.factory import EngineFactory
from tests.zoo.engines import Zoo


def main() -> None:
    """Runs until a signal."""
    engine = EngineFactory(target="tests.zoo.engines:build_zoo", argument=Zoo(folder=Path(sys.argv[1])))
    try:
        run_server(settings_from(), engine=engine)
    except (DanqingError, UserError) as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main()
