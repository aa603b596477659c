"""What happens to a job, watched once for all connections that follow it: a thousand of them cost one watch."""

import asyncio
from contextvars import Context
from typing import Protocol

import structlog

from danqing.core.callers import Caller
from danqing.core.errors import DanqingError
from danqing.core.events import Event, PreviewMade, ProgressMade
from danqing.core.studio import Studio
from danqing.core.types import EncodedPicture, Job
from danqing.dialects.live.letters import JobNews, News, Step
from danqing.dialects.live.translate_out import Sign

AT_ONCE = 100  # followers that are told before others get their turn in the event loop

_log = structlog.get_logger(__name__)


class Follower(Protocol):
    """Hears of one job."""

    def take(self, news: News) -> None:
        """The job has changed, or a step has ended, in the order of happening. Must not block."""
        ...

    def over(self, failure: Exception | None) -> None:
        """Nothing more comes: the job has ended, or the server stopped; or why it cannot be told any more."""
        ...


class Feeds:
    """One for all connections of an app. For one event loop."""

    def __init__(self, *, studio: Studio, sign: Sign) -> None:
        self._studio = studio
        self._sign = sign
        self._feeds: dict[tuple[str, Caller], _Feed] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, job_id: str, caller: Caller, follower: Follower) -> None:
        """He hears of the job as it is now, and of all that happens to it from this moment on."""
        key = (job_id, caller)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = _Feed(self._sign)
            # In a context of its own: it outlasts the connection that was the first to ask.
            feed.task = asyncio.create_task(self._run(key, feed), name="live-feed", context=Context())
            self._tasks.add(feed.task)  # the event loop alone would let it be collected
            feed.task.add_done_callback(self._tasks.discard)
        feed.join(follower)

    def leave(self, job_id: str, caller: Caller, follower: Follower) -> None:
        """He hears no more of it. Does nothing for one who does not hear of it."""
        key = (job_id, caller)
        feed = self._feeds.get(key)
        if feed is not None and feed.leave(follower) and feed.task is not None:
            del self._feeds[key]
            feed.task.cancel()

    async def _run(self, key: tuple[str, Caller], feed: "_Feed") -> None:
        job_id, caller = key
        failure: Exception | None = None
        try:
            async with self._studio.watch(job_id, caller=caller) as events:
                async for event in events:
                    await feed.tell(event)
        except DanqingError as exc:
            failure = exc
        except Exception as exc:  # the top of a watch: whatever it is, nobody waits for news that never come
            _log.error("watch_failed", error=type(exc).__name__, exc_info=exc)
            failure = exc
        finally:
            if self._feeds.get(key) is feed:
                del self._feeds[key]
        feed.end(failure)


class _Feed:
    """Of one job, for one caller."""

    def __init__(self, sign: Sign) -> None:
        self._sign = sign
        self._followers: dict[Follower, None] = {}
        self._latest: Job | None = None
        self._preview: EncodedPicture | None = None  # told with the next step
        self.task: asyncio.Task[None] | None = None

    def join(self, follower: Follower) -> None:
        self._followers[follower] = None
        if self._latest is not None:
            follower.take(JobNews(self._latest, self._sign))

    def leave(self, follower: Follower) -> bool:
        """Whether nobody is left."""
        self._followers.pop(follower, None)
        return not self._followers

    async def tell(self, event: Event) -> None:
        news: News
        match event:
            case PreviewMade():
                self._preview = event.picture
                return
            case ProgressMade():
                assert self._latest is not None  # a watch begins with the job
                news = Step(job_id=self._latest.fingerprint, progress=event.progress, preview=self._preview)
                self._preview = None
            case _:
                self._latest = event.job
                news = JobNews(event.job, self._sign)
        followers = tuple(self._followers)
        for begin in range(0, len(followers), AT_ONCE):
            if begin:
                await asyncio.sleep(0)
            for follower in followers[begin : begin + AT_ONCE]:
                if follower not in self._followers:  # he has left meanwhile
                    continue
                try:
                    follower.take(news)
                except Exception as exc:  # a fault in one connection is no other's business
                    _log.error("watch_failed", error=type(exc).__name__, exc_info=exc)
                    self._followers.pop(follower, None)
                    _end(follower, exc)

    def end(self, failure: Exception | None) -> None:
        followers, self._followers = tuple(self._followers), {}
        for follower in followers:
            _end(follower, failure)


def _end(follower: Follower, failure: Exception | None) -> None:
    """A fault of his is no other's business."""
    try:
        follower.over(failure)
    except Exception as exc:
        _log.error("watch_not_ended", error=type(exc).__name__, exc_info=exc)
