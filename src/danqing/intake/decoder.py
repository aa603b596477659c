"""The server's end of one decoding process."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from dataclasses import asdict
from pathlib import Path

import structlog

from danqing.core.errors import InternalError
from danqing.intake.limits import IntakeLimits
from danqing.intake.verdict import Verdict

log = structlog.get_logger(__name__)

CHILD = "danqing.intake.child"
READY_LINE = b"ready\n"
START_DEADLINE_S = 60.0
END_DEADLINE_S = 2.0  # for one that has closed its output; the kernel is quick, even when the machine is not
_MAX_ANSWER_BYTES = 1024


class DecoderDied(Exception):
    """The process ended before it had answered; of what, nobody knows."""


class Decoder:
    """One process, one picture at a time. What it says is taken for a word of `Verdict`, and for nothing else."""

    def __init__(
        self, process: Process, answers: asyncio.StreamReader, requests: asyncio.StreamWriter, limits: IntakeLimits
    ) -> None:
        """Use `start`."""
        self._process = process
        self._answers = answers
        self._requests = requests
        self._limits = limits

    @classmethod
    async def start(cls, limits: IntakeLimits, folder: Path) -> "Decoder":
        """folder: where all sources and targets lie. Raises InternalError if the system cannot start it, or it does not
        come up.
        """
        command = (sys.executable, "-P", "-s", "-m", CHILD, str(os.getpid()), json.dumps(asdict(limits)), str(folder))
        # Not asyncio's pipes: `Process.wait` waits for their end too, which a strange child can put off for ever.
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:  # closed in any case, so that the connection ends when the process does
            answers, requests = await asyncio.open_connection(sock=ours, limit=_MAX_ANSWER_BYTES)
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=DEVNULL,
                    env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},  # nothing of the server's
                    start_new_session=True,  # a terminal's Ctrl-C is for the server
                )
            except BaseException as exc:
                requests.close()
                if not isinstance(exc, OSError):
                    raise
                log.error("decoder_not_started", reason=exc.strerror)
                raise InternalError from exc
        decoder = cls(process, answers, requests, limits)
        try:
            async with asyncio.timeout(START_DEADLINE_S):
                ready = await answers.readline()
        except (TimeoutError, OSError, ValueError):
            ready = b""
        except BaseException:
            await decoder.end()
            raise
        if ready != READY_LINE:
            await decoder.end()
            log.error("decoder_not_ready", exit_status=process.returncode)
            raise InternalError
        return decoder

    @property
    def pid(self) -> int:
        """Of the process, which may have ended."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """As far as is known yet."""
        return self._process.returncode is None

    async def rebuild(self, source: Path, target: Path, picture_format: str, *, as_mask: bool) -> Verdict:
        """Within the limits' time. Raises DecoderDied. Unless it returns, and after TOO_SLOW, the process is to be
        ended.
        """
        request = {"source": str(source), "target": str(target), "format": picture_format, "as_mask": as_mask}
        try:
            async with asyncio.timeout(self._limits.wall_s):
                self._requests.write(json.dumps(request).encode() + b"\n")
                await self._requests.drain()
                answer = await self._answers.readline()
        except TimeoutError:
            return Verdict.TOO_SLOW
        except (OSError, ValueError) as exc:  # the connection is gone; or the answer is longer than any
            raise DecoderDied from exc
        try:
            return Verdict(answer.decode().removesuffix("\n"))
        except ValueError:
            return await self._why_it_ended()

    async def _why_it_ended(self) -> Verdict:
        # It closed its output, so it is on its way out. To kill it now would race with asyncio for its exit status:
        # `Popen.kill` collects the status itself, and asyncio, finding none, makes one up.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_DEADLINE_S):
                await self._process.wait()
        await self.end()
        if self._process.returncode == -signal.SIGXCPU:
            return Verdict.TOO_SLOW
        raise DecoderDied

    async def end(self) -> None:
        """Kills it, with whatever it has started, and returns when it is gone; fine if it is already."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it leads a session of its own
        self._requests.close()
        with contextlib.suppress(OSError):
            await self._requests.wait_closed()
        await self._process.wait()
