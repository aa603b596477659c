"""The points at which something dies, hangs or fails, and how one of them is made to strike.

A trigger is a file in the chaos folder, named after its point. Whatever comes to the point first, in whichever process,
removes the file and is struck: so each trigger strikes once, when the work is really there.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

MAX_ATTEMPTS = 3  # the setting's default


class Victim(Enum):
    """What is gone after a strike."""

    SERVER = "server"
    WORKER = "worker"
    NOBODY = "nobody"


class Point(Enum):
    """The points of the crash matrix that a single machine has; those of one number differ in who dies there."""

    BEFORE_COMMIT = ("K1", Victim.SERVER, "a submit is written and not committed")
    BEFORE_ANSWER = ("K2", Victim.SERVER, "a submit is committed and not answered")
    CLAIMED = ("K3", Victim.SERVER, "a job is claimed and not sent")
    STEP_WORKER = ("K4w", Victim.WORKER, "in the middle of the steps, the worker")
    STEP_SERVER = ("K4s", Victim.SERVER, "in the middle of the steps, the server")
    HALF_WRITTEN = ("K5h", Victim.WORKER, "half of a picture is written, the worker")
    WRITTEN_WORKER = ("K5w", Victim.WORKER, "a picture is in its place and not told, the worker")
    WRITTEN_SERVER = ("K5s", Victim.SERVER, "a picture is in its place and not recorded, the server")
    COMMITTED = ("K6", Victim.SERVER, "a job is recorded as completed and nobody was told")
    SERVER = ("K7", Victim.SERVER, "the server, at any time; its workers must die with it")
    STOPPED = ("K8", Victim.WORKER, "the worker is stopped (SIGSTOP) in a step")
    POISONED = ("K9", Victim.WORKER, "the device is in a state that it cannot leave")
    KILLER_JOB = ("K10", Victim.WORKER, "a job kills each worker that tries it")
    DISK_FULL = ("K11d", Victim.NOBODY, "the database's disk is full for a while")
    PICTURES_FULL = ("K11p", Victim.NOBODY, "the pictures' disk is full for a while")
    LOCKED = ("K12", Victim.NOBODY, "another program holds the database's lock for a while")
    DRAIN = ("K15", Victim.SERVER, "SIGTERM, and a deadline that is too short")
    CLIENT_GONE = ("K16", Victim.NOBODY, "a client hangs up before it has its answer")
    CLOCK = ("K17", Victim.NOBODY, "the clock jumps by a day")
    SECOND_SERVER = ("K18", Victim.NOBODY, "a second server starts on the data dir")

    def __init__(self, label: str, victim: Victim, meaning: str) -> None:
        self.label = label
        self.victim = victim
        self.meaning = meaning

    @property
    def kills(self) -> int:
        """How many processes one strike takes out of service."""
        if self is Point.KILLER_JOB:
            return MAX_ATTEMPTS
        return 0 if self.victim is Victim.NOBODY else 1

    def arm(self, folder: Path) -> None:
        """The next one to come there is struck."""
        (folder / f"strike-{self.label}").touch()

    def disarm(self, folder: Path) -> bool:
        """False if somebody was struck already."""
        return self.strikes(folder)

    def is_armed(self, folder: Path) -> bool:
        """True until somebody is struck."""
        return (folder / f"strike-{self.label}").exists()

    def strikes(self, folder: Path) -> bool:
        """True for the one that is struck."""
        try:
            os.unlink(folder / f"strike-{self.label}")
        except FileNotFoundError:
            return False
        return True


def wrap(owner: object, name: str, around: Callable[[Any], object]) -> None:  # Any: whatever is there
    """Puts what `around` makes of an attribute in its place, in this process."""
    setattr(owner, name, around(getattr(owner, name)))


def die() -> None:
    """SIGKILL to this process, and nothing after it."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(3600)


def kill_parent() -> None:
    """SIGKILL to the server, from its worker."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600)  # the worker must end with it
