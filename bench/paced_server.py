"""`danqing serve` with the same made-up device that the peers have: `python paced_server.py`, settings as ever.

PEER_DELAY_S, PEER_STEPS, PEER_SIDE and PEER_STEPS_NOTED_IN as in `peers/device.py`. Pictures are written by Danqing's
own codec.
"""

from danqing.cli.options import settings_from
from danqing.cli.serve import run_server
from danqing.workers.factory import EngineFactory


def main() -> None:
    """Runs until a signal."""
    run_server(settings_from(), engine=EngineFactory(target="paced_engine:PacedEngine", argument=False))


if __name__ == "__main__":
    main()
