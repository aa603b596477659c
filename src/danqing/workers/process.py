"""The server's end of one worker process: starts it, hears it in the event loop, sees it end."""

import asyncio
import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from queue import SimpleQueue

import structlog

from danqing.workers.framing import Frames, framed
from danqing.workers.messages import FromWorker, ToWorker
from danqing.workers.prepared import PreparedProcess, forget, started
from danqing.workers.runner import run_worker
from danqing.workers.spec import WorkerSpec

log = structlog.get_logger(__name__)

_PIECE_BYTES = 256 * 1024


class WorkerProcess:
    """Made, and used, in the event loop's thread, which must outlive the process: Linux ends a child whose
    PR_SET_PDEATHSIG is set when the *thread* that made it ends.

    `on_message` is called in the event loop, in order, and never after `ended` is set. A thread of its own sends what
    the pipe has no room for, and waits for the process to end: neither must keep the loop.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        heartbeat_s: float,
        on_message: Callable[[FromWorker], None],
        prepared: PreparedProcess | None = None,
    ) -> None:
        """Starts the process, or takes the prepared one if that is there, and gives it its work; raises OSError if the
        system cannot.
        """
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self.ended: asyncio.Future[int | None] = self._loop.create_future()  # its exit status; negative: a signal
        taken = None if prepared is None else prepared.take()
        self._process, ours = taken or started(name=f"danqing-{spec.id}")
        try:
            self._pipe = socket.socket(fileno=os.dup(ours.fileno()))
        except OSError:
            self._process.kill()  # the next one that is started, or the interpreter's end, reaps it
            raise
        finally:
            ours.close()
        self._pipe.setblocking(False)
        self._frames = Frames()
        self.pid = self._process.pid
        self._worker = spec.id
        self._kill_lock = threading.Lock()
        self._pipe_ended = False
        self._send_lock = threading.Lock()
        self._left = 0  # messages, or rests of them, that the thread has yet to send
        self._unsent: SimpleQueue[bytes | None] = SimpleQueue()  # None: the pipe has ended
        try:
            threading.Thread(target=self._tend, name=f"tend-{spec.id}", daemon=True).start()
        except RuntimeError as exc:  # as many as the system allows: a limit of processes counts threads too
            self._process.kill()
            self._pipe.close()
            raise OSError("no thread can be started for the worker's pipe") from exc
        try:
            self._loop.add_reader(self._pipe, self._read)
        except OSError:
            self._unsent.put(None)  # the thread ends the process
            raise
        self._send(framed((run_worker, spec, heartbeat_s)))  # which is read as `multiprocessing` would have sent it

    def send(self, message: ToWorker) -> None:
        """Never blocks. What is sent to a process that has ended is lost."""
        self._send(framed(message))

    def _send(self, data: bytes) -> None:
        with self._send_lock:
            if not self._left:
                try:
                    data = data[self._pipe.send(data) :]
                except BlockingIOError:
                    pass
                except OSError:  # the process has ended; `_read` sees it too
                    return
            if data:
                self._left += 1
                self._unsent.put(data)

    def kill(self) -> None:
        """SIGKILL; fine for a process that has ended."""
        with self._kill_lock:
            if not self._pipe_ended:  # from then on `_bury` does it, and the id may soon be somebody else's
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
        forget(self._process)

    def _read(self) -> None:
        """The pipe has something to read, or has ended. All is read: of a process that died with something unread
        uvloop tells once, though its last words come before its end.
        """
        try:
            while data := self._pipe.recv(_PIECE_BYTES):
                for message in self._frames.feed(data):
                    self._hear(message)
        except BlockingIOError:
            return
        except OSError:
            pass
        except Exception:  # one that cannot be unpickled, or is none: nothing it says can be trusted
            log.exception("worker_pipe_garbled", pid=self.pid)
            self.kill()
        self._loop.remove_reader(self._pipe)
        self._unsent.put(None)

    def _hear(self, message: FromWorker) -> None:
        if self.ended.done():
            return
        try:
            self._on_message(message)
        except Exception as error:  # the next message is heard all the same
            self._loop.call_exception_handler({"message": "a worker's message was not understood", "exception": error})

    def _tend(self) -> None:
        """The thread."""
        there = True
        while (data := self._unsent.get()) is not None:
            there = there and self._sent_whole(data)
            with self._send_lock:
                self._left -= 1
        self._bury()

    def _sent_whole(self, data: bytes) -> bool:
        """False if the process has ended."""
        room = select.poll()
        room.register(self._pipe, select.POLLOUT)
        while data:
            room.poll()
            try:
                data = data[self._pipe.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                return False
        return True

    def _bury(self) -> None:
        with self._kill_lock:
            self._pipe_ended = True
        exit_status: int | None = None
        try:
            self._process.kill()
            self._process.join()
            exit_status = self._process.exitcode
            self._process.close()
        except (
            ValueError
        ):  # who starts a process asks for the ends of all others, and has not written this one down yet
            log.warning("worker_end_unknown", worker=self._worker, pid=self.pid)
        finally:
            with self._send_lock:  # its number may be another file's at once
                self._pipe.close()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
                self._loop.call_soon_threadsafe(self._set_ended, exit_status)

    def _set_ended(self, exit_status: int | None) -> None:
        if not self.ended.done():
            self.ended.set_result(exit_status)
