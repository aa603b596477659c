"""For requests that take a while: waits for what they need, not for ever, and not for a client that left."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import TypeVar

from starlette.requests import Request

from danqing.core.callers import Caller
from danqing.core.errors import DanqingError, RequestTimeout
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.core.types import Job
from danqing.http.body_budget import release_body

T = TypeVar("T")


class ClientGone(Exception):
    """The client hung up; what is answered reaches nobody."""


async def wait_for_jobs(
    request: Request, studio: Studio, jobs: Sequence[Job], *, caller: Caller, timeout_s: float
) -> list[Job]:
    """The jobs, completed, in the order given; or as soon as one of them has failed, or was cancelled, that one alone.
    The request's body must have been read, and is given up (`release_body`).

    Raises RequestTimeout, or ClientGone. Whether it returns or raises, it has left the jobs (`Studio.leave`).
    """
    release_body(request)
    try:
        ended = await while_connected(request, _ended(studio, jobs, caller), timeout_s=timeout_s)
        known = {job.id: job for job in (*jobs, *ended)}
        await leave_all(studio, [known[job.id] for job in jobs], caller=caller)
        return ended
    except BaseException:
        await asyncio.shield(leave_all(studio, jobs, caller=caller))
        raise


async def _ended(studio: Studio, jobs: Sequence[Job], caller: Caller) -> list[Job]:
    if len(jobs) == 1:  # as most requests have, which need not change tasks for it
        return [await studio.wait(jobs[0].id, caller=caller)]
    waits = [asyncio.create_task(studio.wait(job.id, caller=caller)) for job in jobs]
    try:
        for ending in asyncio.as_completed(waits):
            if (job := await ending).state is not JobState.COMPLETED:
                return [job]  # nobody waits for pictures that he will not get
        return [wait.result() for wait in waits]
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)  # leaves no task behind, and no watcher of a job


async def while_connected(request: Request, work: Awaitable[T], *, timeout_s: float) -> T:
    """What work returns or raises. The request's body must have been read.

    Raises RequestTimeout, or ClientGone: work was cancelled then, and has ended, or was about to.
    """
    loop, limit = asyncio.get_running_loop(), asyncio.timeout(timeout_s)

    def give_up(_: object) -> None:
        if limit.when() is not None and not limit.expired():
            limit.reschedule(loop.time())

    gone = asyncio.create_task(_until_gone(request))
    try:
        async with limit:
            gone.add_done_callback(give_up)
            try:
                return await work
            finally:
                if not limit.expired():
                    limit.reschedule(None)
    except TimeoutError as exc:
        if not limit.expired():  # it is the work's own
            raise
        raise (ClientGone if gone.done() else RequestTimeout) from exc
    finally:
        gone.cancel()
        await asyncio.wait((gone,))
        if not gone.cancelled():
            gone.exception()  # seen: else asyncio would log it as forgotten


async def leave_all(studio: Studio, jobs: Sequence[Job], *, caller: Caller) -> None:
    """The request waits for them no more. jobs: as far as it knows them."""
    for job in jobs:
        with suppress(DanqingError):
            await studio.leave(job, caller=caller)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
