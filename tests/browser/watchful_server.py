"""`danqing serve` with a zoo engine and an eye on its machine: `python -m tests.browser.watchful_server FOLDER`."""

from functools import partialmethod

from danqing.http.machine_log import MachineLog
from tests.e2e.zoo_server import main

EVERY_S = 0.5

if __name__ == "__main__":
    setattr(MachineLog, "kept_going", partialmethod(MachineLog.kept_going, every_s=EVERY_S))  # noqa: B010 - another's
    main()
