"""The `danqing` command. A worker's process imports this module too, as every process does that Python starts: it is to
cost nothing there.
"""

import signal
from types import FrameType


def main() -> None:
    """See `cli/main.py`. SIGTERM ends it from the first moment on, also as the first process of a container, which the
    system does not end by a signal for which there is no handler.
    """
    signal.signal(signal.SIGTERM, _end)
    from danqing.cli.main import main as run

    run()


def serve_alone(dialect: str, *, port: int) -> None:
    """What `app.py` and `main.py` are for, see `cli/start_files.py`. SIGTERM as above."""
    signal.signal(signal.SIGTERM, _end)
    from danqing.cli.start_files import serve_alone as run

    run(dialect, port=port)


def _end(number: int, _frame: FrameType | None) -> None:
    """Until a server takes the signal itself."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
