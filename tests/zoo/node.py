"""`danqing worker` with zoo engines and little patience: `python -m tests.zoo.node FOLDER`."""

import sys
from pathlib import Path

from danqing.cli.worker import run_worker
from tests.zoo.server import main

if __name__ == "__main__":
    main(Path(sys.argv[1]), "fine", run_worker)
