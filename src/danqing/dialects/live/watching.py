"""One job as one connection is told of it: each state once and in order, under every id that it was asked for with."""

from collections import deque
from collections.abc import Callable

from danqing.core.types import Job
from danqing.dialects.live.letters import JobNews, News, Step
from danqing.dialects.live.outbox import Outbox
from danqing.dialects.live.schemas import RequestId
from danqing.dialects.live.translate_out import Sign, states_since

MAX_HELD = 64  # steps of before the first `tell`; the newest are kept


class Watch:
    """A `feeds.Follower`. Begins with the job as it is already known; what happens before the first `tell` is told
    after it.
    """

    def __init__(
        self,
        job: Job,
        *,
        outbox: Outbox,
        sign: Sign,
        when_over: Callable[["Watch", Exception | None], None] | None = None,
    ) -> None:
        """when_over: called when all is told; see `Follower.over`."""
        self._known = JobNews(job, sign)
        self._outbox = outbox
        self._request_ids: list[RequestId | None] = []
        self._held: deque[News] = deque()
        self._over: tuple[Exception | None] | None = None
        self._when_over = when_over
        self.previews = False

    @property
    def job(self) -> Job:
        """As it was told."""
        return self._known.job

    @property
    def request_ids(self) -> tuple[RequestId | None, ...]:
        """Under which ids the job was asked for."""
        return tuple(self._request_ids)

    def tell(self, request_id: RequestId | None) -> None:
        """Tells the job as it is known, and from now on all that happens to it, under this id too."""
        if request_id not in self._request_ids:
            self._request_ids.append(request_id)
        self._outbox.put_letter(self._known.letter(self.job.state, request_id))
        while self._held:
            self._take(self._held.popleft())
        self._report()

    def take(self, news: News) -> None:
        """See `Follower`."""
        if self._request_ids:
            self._take(news)
            return
        self._held.append(news)
        steps = [held for held in self._held if isinstance(held, Step)]
        if len(steps) > MAX_HELD:
            self._held.remove(steps[0])

    def over(self, failure: Exception | None) -> None:
        """See `Follower`."""
        self._over = (failure,)
        if self._request_ids:
            self._report()

    def _report(self) -> None:
        if self._over is not None and self._when_over is not None:
            self._when_over(self, *self._over)

    def _take(self, news: News) -> None:
        if isinstance(news, Step):
            if self.job.state in news.states:
                self._outbox.put_step(news if self.previews else news.without_preview)
        elif news.job.age > self.job.age:  # it may be older than what was told already
            for state in states_since(self.job.state, news.job.state):
                for request_id in self._request_ids:
                    self._outbox.put_letter(news.letter(state, request_id))
            self._known = news
