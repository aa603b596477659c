"""The decoding process: `python -m danqing.intake.child PARENT LIMITS FOLDER`.

PARENT is the server's process id, LIMITS those of `IntakeLimits` as JSON, FOLDER that in which all sources and targets
lie.

Says "ready" once, then reads one request a line from its standard input, {"source", "target", "format", "as_mask"},
and answers each with a line that holds a `Verdict`. Ends when its input does, and with the server. It may not start
another process (but for root, whom no limit binds), hold more memory or compute longer than the limits say; nor, where
the kernel can see to it, open a TCP connection, signal other processes, read files beside Python's own and those in
FOLDER, or change any but these.
"""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from danqing.intake.landlock import confine_files
from danqing.intake.limits import MIB, IntakeLimits
from danqing.intake.rebuild import Refused, rebuild
from danqing.intake.specimens import SPECIMENS
from danqing.intake.verdict import Verdict
from danqing.parentage import die_with_parent

READY = "ready"
_MAX_FILE_BYTES = 512 * MIB  # far above what the largest picture takes as a PNG
_MAX_OPEN_FILES = 32


def main() -> None:
    """Runs until the input ends."""
    die_with_parent(int(sys.argv[1]))  # what it wrote for a server that is gone, nobody would remove
    limits = IntakeLimits(**json.loads(sys.argv[2]))
    answers = _own_output()
    os.umask(0o077)
    _confine(limits, Path(sys.argv[3]))
    _say(answers, READY)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit_cpu(limits.cpu_s)
        verdict = _judge(request, limits)
        _say(answers, verdict)
        if verdict is Verdict.TOO_COSTLY:  # what is left of the memory may be in pieces; the next process begins anew
            return


def _judge(request: Mapping[str, Any], limits: IntakeLimits) -> Verdict:  # Any: JSON values
    source, target = Path(request["source"]), Path(request["target"])
    try:
        rebuild(source, target, picture_format=request["format"], limits=limits, as_mask=request.get("as_mask", False))
    except Refused as refused:
        return refused.verdict
    except MemoryError:
        return Verdict.TOO_COSTLY
    return Verdict.REBUILT


def _own_output() -> BinaryIO:
    """Standard output for answers alone: what a library prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return answers


def _say(answers: BinaryIO, text: str) -> None:
    answers.write(text.encode() + b"\n")


def _confine(limits: IntakeLimits, folder: Path) -> None:
    if not sys.platform.startswith("linux"):  # elsewhere these limits are missing or not kept; time is, by the parent
        return
    import resource

    for kind, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(kind, (most, most))
    _rehearse(limits)
    places = {Path(place) for place in (*sys.path, sys.prefix, sys.base_prefix) if place}
    confine_files(read=places, change=folder)


def _rehearse(limits: IntakeLimits) -> None:
    """Libraries load parts of themselves late, and by then they may lie where nothing can be read any more."""
    for kind, content in SPECIMENS.items():
        with suppress(Refused, OSError):  # a Pillow without WebP, say: what cannot be done now is refused later
            source, target = os.memfd_create("source"), os.memfd_create("target")
            os.write(source, content)
            paths = [Path(f"/proc/self/fd/{descriptor}") for descriptor in (source, target)]
            rebuild(*paths, picture_format=kind, limits=limits)
            os.close(source)
            os.close(target)


def _limit_cpu(seconds: int) -> None:
    """For the picture that comes now: the limit counts from the process's start. Beyond it the kernel ends it."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


if __name__ == "__main__":
    main()
