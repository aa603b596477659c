"""`python -m tests.chaos [--kills 500] [--seed 1]`: the long run. Exit status 1 if anything promised is lost.

SIGTERM ends it early, with the report on what was done by then.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.runner import Chaos, plan


def main() -> int:
    """Prints the report."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new folder for the data dir and the server's log")
    options = parser.parse_args()
    if options.keep is not None:
        options.keep.mkdir(parents=True)
        return _run(options.keep, options.kills, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        return _run(Path(folder), options.kills, options.seed)


def _run(folder: Path, kills: int, seed: int) -> int:
    chaos = Chaos(folder, seed=seed, say=_say)
    signal.signal(signal.SIGTERM, lambda *_: chaos.stop())
    report = chaos.run(plan(kills, seed=seed))
    for line in report.lines():
        _say(line)
    return 0 if report.is_clean else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
