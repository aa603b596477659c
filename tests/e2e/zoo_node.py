"""`danqing worker` with a zoo engine: `python -m tests.e2e.zoo_node FOLDER`; settings as ever."""

import sys
from pathlib import Path

from danqing.cli.options import UserError, settings_from
from danqing.cli.worker import DRAINED, run_worker
from danqing.core.errors import DanqingError
from danqing.workers.factory import EngineFactory
from tests.zoo.engines import Zoo


def main() -> None:
    """Runs until a signal, or a drain."""
    engine = EngineFactory(target="tests.zoo.engines:build_zoo", argument=Zoo(folder=Path(sys.argv[1])))
    try:
        if run_worker(settings_from(), engine=engine):
            sys.exit(DRAINED)
    except (DanqingError, UserError) as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main()
