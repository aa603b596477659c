"""The points at which something dies, hangs or fails, and how one of them is made to strike.

A trigger is a file in the chaos folder, named after its point. Whatever comes to the point first, in whichever process,
removes the file and is struck: so each trigger strikes once, when the work is really there.
"""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

MAX_ATTEMPTS = 3  # the setting's default
KILLER_LABEL = "K10"
WRITES = "writes"


class Victim(Enum):
    """What is gone after a strike. part: something that all processes of a cluster share."""

    SERVER = "server"
    API = "api"
    NODE = "node"
    WORKER = "worker"
    PART = "part"
    NOBODY = "nobody"


class Strike(Enum):
    """A point, by its label, whom it costs, and what it is. Those of one number differ in who dies there."""

    def __init__(self, label: str, victim: Victim, meaning: str) -> None:
        self.label = label
        self.victim = victim
        self.meaning = meaning

    @property
    def kills(self) -> int:
        """How many processes one strike takes out of service."""
        if self.label == KILLER_LABEL:
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


class Point(Strike):
    """The points of the crash matrix that a single machine has."""

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
    KILLER_JOB = (KILLER_LABEL, Victim.WORKER, "a job kills each worker that tries it")
    DISK_FULL = ("K11d", Victim.NOBODY, "the database's disk is full for a while")
    PICTURES_FULL = ("K11p", Victim.NOBODY, "the pictures' disk is full for a while")
    LOCKED = ("K12", Victim.NOBODY, "another program holds the database's lock for a while")
    DRAIN = ("K15", Victim.SERVER, "SIGTERM, and a deadline that is too short")
    CLIENT_GONE = ("K16", Victim.NOBODY, "a client hangs up before it has its answer")
    CLOCK = ("K17", Victim.NOBODY, "the clock jumps by a day")
    SECOND_SERVER = ("K18", Victim.NOBODY, "a second server starts on the data dir")


class ClusterPoint(Strike):
    """Those that several machines have; the label is the same where the same code is struck."""

    BEFORE_COMMIT = ("K1", Victim.API, "a submit is written and not committed")
    BEFORE_ANSWER = ("K2", Victim.API, "a submit is committed, not published and not answered")
    PUBLISHED = ("K2p", Victim.API, "a submit is given to the publisher and not answered")
    CLAIMED = ("K3", Victim.NODE, "a job is claimed and not sent to a worker")
    STEP_WORKER = ("K4w", Victim.WORKER, "in the middle of the steps, the worker")
    STEP_NODE = ("K4s", Victim.NODE, "in the middle of the steps, the node")
    BEFORE_WRITE = ("K5b", Victim.WORKER, "a picture is about to be stored, the worker")
    WRITTEN_WORKER = ("K5w", Victim.WORKER, "a picture is stored and not told, the worker")
    WRITTEN_NODE = ("K5s", Victim.NODE, "a picture is stored and not recorded, the node")
    COMMITTED = ("K6", Victim.NODE, "a job is recorded as completed and nobody was told")
    API = ("K7a", Victim.API, "an API process, at any time")
    NODE = ("K7n", Victim.NODE, "a node, at any time; its workers must die with it")
    STOPPED = ("K8", Victim.WORKER, "the worker is stopped (SIGSTOP) in a step")
    NODE_STOPPED = ("K8n", Victim.NODE, "a node is stopped until its jobs are given to others, and then goes on")
    POISONED = ("K9", Victim.WORKER, "the device is in a state that it cannot leave")
    KILLER_JOB = (KILLER_LABEL, Victim.WORKER, "a job kills each worker that tries it")
    API_DRAIN = ("K15a", Victim.API, "SIGTERM to an API process")
    NODE_DRAIN = ("K15n", Victim.NODE, "SIGTERM to a node, and a deadline that is too short")
    CLIENT_GONE = ("K16", Victim.NOBODY, "a client hangs up before it has its answer")
    REDIS = ("P1", Victim.PART, "Redis is killed, and comes back empty")
    FLUSHED = ("P1f", Victim.NOBODY, "Redis is emptied, and the broker")
    DATABASE = ("P2", Victim.PART, "PostgreSQL is killed, and comes back")
    OBJECTS = ("P3", Victim.PART, "the object store is killed, and comes back")


def note_write(folder: Path, name: str) -> None:
    """A picture of this name was stored; see `writes`."""
    with (folder / WRITES).open("a") as notes:  # a short line that is appended is whole
        notes.write(f"{name}\n")


def writes(folder: Path) -> Counter[str]:
    """How often a picture of each name was stored."""
    path = folder / WRITES
    return Counter(path.read_text().split()) if path.exists() else Counter()


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
