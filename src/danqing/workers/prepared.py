"""A worker's process that is started before its work is known, and imports meanwhile what takes seconds to import.

Knows neither what it imports nor what it is to do: importing this module is to take no time itself.
"""

import contextlib
import multiprocessing
import multiprocessing.process
import multiprocessing.resource_tracker
import os
import signal
from collections.abc import Generator, Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from danqing import collector
from danqing.parentage import die_with_parent

END_S = 5.0  # for a killed process to be gone
# What libraries read as they are imported, where the environment does not say it: code that comes with a model is not
# run, whatever asks for it.
ENVIRONMENT = {"DIFFUSERS_DISABLE_REMOTE_CODE": "1"}
Taken = tuple[multiprocessing.process.BaseProcess, "Connection[Any, Any]"]


class PreparedProcess:
    """For one worker. To be made in the thread in which `WorkerProcess` is made."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Starts it. modules: what it imports. Raises OSError when the system cannot."""
        self._taken: Taken | None = started(modules, name="danqing-prepared")
        self.pid = self._taken[0].pid

    def take(self) -> Taken | None:
        """It, and this end of its pipe, of which the taker has to take care from now on; it waits for its work, as all
        that are `started`. None where it was taken before, was closed, or has ended.
        """
        if self._taken is None or not self._taken[0].is_alive():
            return None
        taken, self._taken = self._taken, None
        return taken

    def close(self) -> None:
        """Ends it, unless it was taken."""
        if self._taken is not None:
            process, pipe = self._taken
            self._taken = None
            pipe.close()
            process.kill()
            process.join(END_S)
            if process.exitcode is None:  # it hangs in the kernel
                forget(process)
            else:
                process.close()


def started(modules: Sequence[str] = (), *, name: str) -> Taken:
    """A process that imports these and waits for its work; and this end of its pipe. Raises OSError.

    Its work is a tuple that comes through the pipe: a function, and the further arguments of that, whose first one is
    its end of the pipe. Not more is given here than a pipe has room for, so that nobody waits until it is read.
    It begins with SIGINT blocked: until it ignores it, Ctrl-C must not kill it.
    """
    context = multiprocessing.get_context("spawn")
    multiprocessing.resource_tracker.ensure_running()  # which, when it starts, lets SIGINT through again
    ours: Connection[Any, Any]
    ours, theirs = context.Pipe(duplex=True)
    arguments = (theirs, tuple(modules), os.getpid())
    process = context.Process(target=_wait_for_work, args=arguments, name=name, daemon=True)
    try:
        with _sigint_blocked():
            process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()  # so that the pipe ends when the process does
    return process, ours


def forget(process: multiprocessing.process.BaseProcess) -> None:
    """The interpreter does not wait for it when it exits; there is no public way to forget a child."""
    getattr(multiprocessing.process, "_children", set[object]()).discard(process)


def _wait_for_work(pipe: "Connection[Any, Any]", modules: Sequence[str], parent_pid: int) -> None:
    """In the process. What cannot be imported ends it: whoever is started anew in its place will say why."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent_pid)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        with collector.paused():
            for module in modules:
                import_module(module)
            collector.keep_apart()
    except Exception:
        return
    try:
        work, *arguments = pipe.recv()
    except EOFError:  # nobody needs it
        return
    work(pipe, *arguments)


@contextlib.contextmanager
def _sigint_blocked() -> Generator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
