"""In the worker process: tells the server what happens, from any thread."""

import os
import select
import threading
from collections import deque
from queue import SimpleQueue

import structlog

from danqing.core.types import Artifact
from danqing.workers.failures import describe, poisons_process
from danqing.workers.framing import framed
from danqing.workers.messages import DeviceFree, FromWorker, JobFailed, PreviewReady, RunJob, StepDone

log = structlog.get_logger(__name__)

PREVIEW_PATIENCE_S = 0.2


class Outbox:
    """Sends whole messages in the order of the calls. Ends the process when the server is gone.

    Writing into the pipe wakes the server, which takes as long as all else about a step: for the thread that has the
    device another one does it.
    """

    def __init__(self, pipe: int) -> None:
        """pipe: the file descriptor, which blocks."""
        self._pipe = pipe
        self._lock = threading.Lock()
        self._soon: deque[StepDone | DeviceFree] = deque()
        self._wakes: SimpleQueue[None] = SimpleQueue()  # one for each of those, though others may have sent it by then
        threading.Thread(target=self._send_soon, name="outbox", daemon=True).start()

    def send(self, message: FromWorker) -> None:
        """Blocks while the pipe is full."""
        with self._lock:
            self._write(self._waiting() + framed(message))

    def send_soon(self, message: StepDone | DeviceFree) -> None:
        """Does not wait. It goes before what is sent after it; if nothing was, a process that ends may lose it."""
        self._soon.append(message)
        self._wakes.put(None)

    def send_preview(self, message: PreviewReady) -> None:
        """Drops it if the pipe has no room for it soon: a step must not wait for long because of a preview."""
        # A pipe that counts as writable is mostly empty, so that a picture as small as this fits in.
        room = select.poll()
        room.register(self._pipe, select.POLLOUT)
        if room.poll(PREVIEW_PATIENCE_S * 1000):
            self.send(message)

    def send_failure(self, job: RunJob, error: Exception, artifacts: tuple[Artifact, ...] = ()) -> bool:
        """Logs the error and tells the server that the job failed. True when the process must end because of it.

        artifacts: stored before that, and not told yet.
        """
        poisoned = poisons_process(error)
        log.error("attempt_failed", job_id=job.job_id, attempt=job.attempt, poisoned=poisoned, exc_info=error)
        failure = describe(error, poisoned=poisoned)
        self.send(
            JobFailed(job_id=job.job_id, attempt=job.attempt, failure=failure, poisoned=poisoned, artifacts=artifacts)
        )
        return poisoned

    def _send_soon(self) -> None:
        """The thread."""
        while True:
            self._wakes.get()
            with self._lock:
                self._write(self._waiting())

    def _waiting(self) -> bytes:
        """What was to be sent soon, and is now. With the lock."""
        frames: list[bytes] = []
        while self._soon:
            frames.append(framed(self._soon.popleft()))
        return b"".join(frames)

    def _write(self, data: bytes) -> None:
        """With the lock."""
        unsent = memoryview(data)
        try:
            while unsent:
                unsent = unsent[os.write(self._pipe, unsent) :]
        except OSError:
            os._exit(1)
