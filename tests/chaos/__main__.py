"""`python -m tests.chaos [--set-up single|scaled] [--kills 500] [--seed 1]`: the long run.

Exit status 1 if anything promised is lost.

SIGTERM ends it early, with the report on what was done by then.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.cluster_runner import ClusterChaos
from tests.chaos.points import ClusterPoint, Point
from tests.chaos.report import Report
from tests.chaos.runner import Chaos, plan


def main() -> int:
    """Prints the report."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--set-up", choices=SET_UPS, default="single", help="one server, or a cluster of everything")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new folder for the data dir and the server's log")
    parser.add_argument("--broker", help="of a scaled set-up: a RabbitMQ's address, whose queues it may empty")
    options = parser.parse_args()
    if options.keep is not None:
        options.keep.mkdir(parents=True)
        return _told(_run(options.keep, options))
    with tempfile.TemporaryDirectory() as folder:
        return _told(_run(Path(folder), options))


def _run(folder: Path, options: argparse.Namespace) -> Report:
    if options.set_up == "scaled":
        cluster = ClusterChaos(folder, seed=options.seed, say=_say, broker_url=options.broker)
        signal.signal(signal.SIGTERM, lambda *_: cluster.stop())
        return cluster.run(plan(options.kills, ClusterPoint, seed=options.seed))
    single = Chaos(folder, seed=options.seed, say=_say)
    signal.signal(signal.SIGTERM, lambda *_: single.stop())
    return single.run(plan(options.kills, Point, seed=options.seed))


SET_UPS = ("single", "scaled")


def _told(report: Report) -> int:
    for line in report.lines():
        _say(line)
    return 0 if report.is_clean else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
