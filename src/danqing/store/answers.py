"""Results on their way from a thread to those who wait for them: in other threads, or in an event loop."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Answer(Protocol[T_contra]):
    """Where the result of a call goes. A `concurrent.futures.Future` is one, whose words these are."""

    def set_running_or_notify_cancel(self) -> bool:
        """False: nobody wants it any more."""
        ...

    def done(self) -> bool:
        """Whether it was given."""
        ...

    def set_result(self, result: T_contra, /) -> None:
        """Gives it, once."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Gives what came instead."""
        ...


class LoopAnswer(Generic[T]):
    """Implements `Answer`. `future` is of the event loop."""

    def __init__(self, answers: "LoopAnswers") -> None:
        self.future: asyncio.Future[T] = answers.loop.create_future()
        self._answers = answers
        self._done = False

    def set_running_or_notify_cancel(self) -> bool:
        """See `Answer`; so for all below."""
        return not self.future.cancelled()

    def done(self) -> bool:
        return self._done

    def set_result(self, result: T, /) -> None:
        self._done = True
        self._answers.give(self.future, result, None)

    def set_exception(self, exception: BaseException, /) -> None:
        self._done = True
        self._answers.give(self.future, None, exception)


class LoopAnswers:
    """Those of one event loop, which is woken once for all that are given until it comes round; `wrap_future` would
    wake it for each, and take longer for that than it takes to store a job.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._given: deque[tuple[asyncio.Future[Any], object, BaseException | None]] = deque()
        self._is_coming = False

    def give(self, future: asyncio.Future[T], result: T | None, exception: BaseException | None) -> None:
        """From another thread. Where the loop is closed, nobody waits any more."""
        self._given.append((future, result, exception))
        if not self._is_coming:
            self._is_coming = True
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        self._is_coming = False  # before looking: what is given from now on is seen, or comes again
        while self._given:
            future, result, exception = self._given.popleft()
            if future.done():  # whoever waited was cancelled
                continue
            if exception is None:
                future.set_result(result)
            else:
                future.set_exception(exception)
