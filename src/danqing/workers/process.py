"""The server's end of one worker process: starts it, writes and reads its pipe in threads, sees it end."""

import asyncio
import contextlib
import multiprocessing
import multiprocessing.process
import signal
import threading
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from queue import SimpleQueue

import structlog

from danqing.workers.messages import FromWorker, ToWorker
from danqing.workers.runner import run_worker
from danqing.workers.spec import WorkerSpec

log = structlog.get_logger(__name__)


class WorkerProcess:
    """Made, and used, in the event loop's thread, which must outlive the process: Linux ends a child whose
    PR_SET_PDEATHSIG is set when the *thread* that made it ends.

    `on_message` is called in the event loop, in order, and never after `ended` is set.
    """

    def __init__(self, spec: WorkerSpec, *, heartbeat_s: float, on_message: Callable[[FromWorker], None]) -> None:
        """Starts the process; raises OSError when the system cannot."""
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self.ended: asyncio.Future[int | None] = self._loop.create_future()  # its exit status; negative: a signal
        context = multiprocessing.get_context("spawn")
        self._connection: Connection[ToWorker, FromWorker]
        self._connection, theirs = context.Pipe(duplex=True)
        self._process = context.Process(
            target=run_worker, args=(theirs, spec, heartbeat_s), name=f"danqing-{spec.id}", daemon=True
        )
        try:
            with _sigint_blocked():  # inherited: until the worker ignores it, Ctrl-C must not kill it
                self._process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()  # so that the pipe ends when the worker does
        self.pid = self._process.pid
        self._worker = spec.id
        self._kill_lock = threading.Lock()
        self._pipe_ended = False
        self._unsent: SimpleQueue[ToWorker | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name=f"to-{spec.id}", daemon=True)
        try:
            self._writer.start()
            threading.Thread(target=self._read, name=f"from-{spec.id}", daemon=True).start()
        except RuntimeError as exc:  # as many as the system allows: a limit of processes counts threads too
            self._process.kill()  # the next one that is started, or the interpreter's end, reaps it
            self._unsent.put(None)
            self._connection.close()
            raise OSError("no thread can be started for the worker's pipe") from exc

    def send(self, message: ToWorker) -> None:
        """Never blocks. What is sent to a process that has ended is lost."""
        self._unsent.put(message)

    def kill(self) -> None:
        """SIGKILL; fine for a process that has ended."""
        with self._kill_lock:
            if not self._pipe_ended:  # from then on `_read` does it, and the id may soon be somebody else's
                self._process.kill()

    def end(self, grace_s: float) -> None:
        """Kills it, and waits for it no longer than that: a process that hangs in the kernel does not even die of
        SIGKILL.
        """
        self.kill()
        self._loop.call_later(grace_s, self._give_up, grace_s)

    def _give_up(self, waited_s: float) -> None:
        if not self.ended.done():
            log.error("worker_not_dead", worker=self._worker, pid=self.pid, waited_s=waited_s)
            self.abandon()

    def abandon(self) -> None:
        """Takes the process for ended, whatever the system says; from now on nothing is heard of it."""
        self._set_ended(None)
        # Else the interpreter waits for it when the server exits; there is no public way to forget a child.
        getattr(multiprocessing.process, "_children", set[object]()).discard(self._process)

    def _write(self) -> None:
        while (message := self._unsent.get()) is not None:
            try:
                self._connection.send(message)
            except OSError:  # the process has ended; `_read` sees it too
                return

    def _read(self) -> None:
        try:
            while True:
                self._in_loop(self._hear, self._connection.recv())
        except (EOFError, OSError):
            pass
        except Exception:  # half a message, or one that cannot be unpickled: nothing it says can be trusted
            log.exception("worker_pipe_garbled", pid=self.pid)
        with self._kill_lock:
            self._pipe_ended = True
        self._process.kill()
        self._process.join()
        exit_status = self._process.exitcode
        self._process.close()
        self._unsent.put(None)
        self._writer.join()
        self._connection.close()
        self._in_loop(self._set_ended, exit_status)

    def _hear(self, message: FromWorker) -> None:
        if not self.ended.done():
            self._on_message(message)

    def _set_ended(self, exit_status: int | None) -> None:
        if not self.ended.done():
            self.ended.set_result(exit_status)

    def _in_loop(self, call: Callable[..., None], argument: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
            self._loop.call_soon_threadsafe(call, argument)


@contextlib.contextmanager
def _sigint_blocked() -> Generator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
