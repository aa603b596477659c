"""Whether a worker can work, and why not, over all its processes. Pure: every time is given in, in seconds."""

from danqing.core.types import JobFailure, WorkerState


class Health:
    """Of one worker; told of each of its processes from beginning to end."""

    def __init__(self, *, load_failures_until_broken: int) -> None:
        self._load_failures_until_broken = load_failures_until_broken
        self._failure: JobFailure | None = None
        self._ready_at: float | None = None
        self._was_ready = False
        self._load_failure_told = False  # by the present process
        self._load_failures = 0
        self._given_up = False

    @property
    def failure(self) -> JobFailure | None:
        """What went wrong last; None since it was ready again."""
        return self._failure

    @property
    def ready(self) -> bool:
        """True while a process has its models loaded."""
        return self._ready_at is not None

    @property
    def load_failures(self) -> int:
        """In a row."""
        return self._load_failures

    @property
    def broken(self) -> bool:
        """True while there is little hope that it will ever be ready."""
        return self._given_up or self._load_failures >= self._load_failures_until_broken

    @property
    def loading_in_silence(self) -> bool:
        """True while the present process has said neither that it is ready nor that it cannot be."""
        return not self.ready and not self._load_failure_told

    def state(self, *, busy: bool) -> WorkerState:
        """busy: it has jobs in its hands."""
        if self.broken:
            return WorkerState.BROKEN
        if not self.ready:
            return WorkerState.RESTARTING if self._was_ready else WorkerState.STARTING
        return WorkerState.BUSY if busy else WorkerState.READY

    def process_began(self) -> None:
        """A new process is there, and loads."""
        self._load_failure_told = False

    def became_ready(self, now: float) -> None:
        """The process has loaded; what went wrong before is forgotten."""
        self._ready_at, self._was_ready = now, True
        self._load_failures, self._failure = 0, None

    def load_failed(self, failure: JobFailure) -> None:
        """The process, or the system that should start it, has said why it will not be ready."""
        self._load_failure_told = True
        self._load_failures += 1
        self._failure = failure

    def lost(self, failure: JobFailure) -> None:
        """A process went unasked; a reason that is known already is the better one."""
        self._failure = self._failure or failure

    def process_ended(self, now: float) -> float:
        """Returns for how long the process was ready; 0: it never was."""
        ready_s = 0.0 if self._ready_at is None else now - self._ready_at
        self._ready_at = None
        return ready_s

    def give_up(self) -> None:
        """There will be no other process."""
        self._given_up = True
