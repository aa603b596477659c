"""What one connection is told: the jobs that it follows, into one outbox."""

import asyncio
from collections.abc import Coroutine, Generator, Set
from contextlib import contextmanager, suppress

import structlog

from danqing.core.callers import Caller
from danqing.core.errors import DanqingError
from danqing.core.studio import Studio
from danqing.core.types import Job
from danqing.dialects.live.errors import error_message
from danqing.dialects.live.feeds import Feeds
from danqing.dialects.live.letters import Letter
from danqing.dialects.live.outbox import Outbox
from danqing.dialects.live.schemas import Error, RequestId, ServerMessage
from danqing.dialects.live.translate_out import Sign, to_text
from danqing.dialects.live.watching import Watch

MAX_FOLLOWED = 1000  # jobs under way, counted once for each request_id
TOO_MANY = f"This connection follows {MAX_FOLLOWED} jobs already; wait for some of them to end."
SERVICE_RESTART, INTERNAL_ERROR, POLICY_VIOLATION = 1012, 1011, 1008  # close codes

_log = structlog.get_logger(__name__)


class Connection:
    """A `clients.Recipient`. For one event loop; `close` it in the end.

    recalled: set when the client may have missed how a job ended. ended: done, with the close code, when there is no
    use in going on.
    """

    def __init__(self, *, studio: Studio, feeds: Feeds, caller: Caller, outbox: Outbox, sign: Sign) -> None:
        self._studio = studio
        self._feeds = feeds
        self._caller = caller
        self._outbox = outbox
        self._sign = sign
        self._watches: dict[str, Watch] = {}
        self._followed: set[tuple[str, RequestId | None]] = set()  # jobs with the request_ids that they are told under
        self._looks = 0  # into the store, that are under way
        self._ended: dict[str, Job] = {}  # told to the end since the first of them began
        self._running: set[asyncio.Task[None]] = set()  # what takes only a moment
        self._closed = False
        self.recalled = asyncio.Event()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def recall(self) -> None:
        """See `recalled`."""
        self.recalled.set()

    @property
    def is_full(self) -> bool:
        """Whether nothing more can be followed now."""
        return len(self._followed) >= MAX_FOLLOWED

    def say(self, message: ServerMessage) -> None:
        """Sends it after what waits already."""
        self._outbox.put_letter(Letter(text=to_text(message)))

    @property
    def followed(self) -> Set[tuple[str, RequestId | None]]:
        """The ids of the jobs that are told as they go, each with the request_ids under which; as it is now."""
        return frozenset(self._followed)

    def follows(self, job: Job, request_id: RequestId | None) -> bool:
        """Whether the job is told under this id as it goes."""
        return (job.id, request_id) in self._followed

    @contextmanager
    def looking(self) -> Generator[None]:
        """While somebody looks into the store for what is then told: see `newest`."""
        self._looks += 1
        try:
            yield
        finally:
            self._looks -= 1
            if not self._looks:
                self._ended.clear()

    def newest(self, job: Job) -> Job:
        """The job as it was found in a look that is not over, or as it was told meanwhile, if that is newer."""
        watch = self._watches.get(job.id)
        told = self._ended.get(job.id, job) if watch is None else watch.job
        return told if told.age > job.age else job

    def prepare(self, job: Job, *, previews: bool) -> None:
        """From now on nothing that happens to the job is missed, but it is not told before `follow`.

        Does nothing if nothing more can be followed.
        """
        if self._closed or self.is_full or job.state.is_final:
            return
        watch = self._watches.get(job.id)
        if watch is None:
            watch = Watch(job, outbox=self._outbox, sign=self._sign, when_over=self._over)
            self._watches[job.id] = watch
            self._feeds.join(job.id, self._caller, watch)
        if previews and not watch.previews:
            watch.previews = True
            self._run(self._turn_previews_on(job.id))

    def abandon(self, job: Job) -> None:
        """Undoes a `prepare` that no `follow` came after."""
        watch = self._watches.get(job.id)
        if watch is not None and not watch.request_ids:
            self._forget(watch)

    def follow(self, job: Job, request_id: RequestId | None, *, previews: bool = False) -> None:
        """Tells the job as it is and, until it ends, all that happens to it. Does nothing once it is closed."""
        if self._closed:
            return
        self.prepare(job, previews=previews)
        watch = self._watches.get(job.id)
        if watch is None and not job.state.is_final:
            self.say(Error(type="error", message=TOO_MANY, request_id=request_id))
            return
        if watch is None:
            watch = Watch(job, outbox=self._outbox, sign=self._sign)
        else:
            self._followed.add((job.id, request_id))
        watch.tell(request_id)

    def _run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._finished)
        return task

    def _forget(self, watch: Watch) -> None:
        del self._watches[watch.job.id]
        self._followed.difference_update((watch.job.id, request_id) for request_id in watch.request_ids)
        self._feeds.leave(watch.job.id, self._caller, watch)

    def _over(self, watch: Watch, failure: Exception | None) -> None:
        self._forget(watch)
        match failure:
            case DanqingError():
                for request_id in watch.request_ids:
                    self.say(error_message(failure, request_id))
            case Exception():
                self.end(INTERNAL_ERROR)
            case None if not watch.job.state.is_final:
                self.end(SERVICE_RESTART)
            case None if self._looks:
                self._ended[watch.job.id] = watch.job
            case None:
                pass

    async def _turn_previews_on(self, job_id: str) -> None:
        with suppress(DanqingError):  # what the feed comes upon, too
            async with self._studio.watch(job_id, caller=self._caller, previews=True):
                pass

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("previews_failed", error=type(error).__name__, exc_info=error)
            self.end(INTERNAL_ERROR)

    def end(self, code: int) -> None:
        """See `ended`; the first code counts."""
        if not self.ended.done():
            self.ended.set_result(code)

    async def close(self) -> None:
        """Follows nothing any more."""
        self._closed = True
        for watch in tuple(self._watches.values()):
            self._forget(watch)
        tasks = tuple(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
