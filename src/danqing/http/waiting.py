"""For requests that are answered with their pictures: waits for jobs, not for ever, and not for a client that left."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from starlette.requests import Request

from danqing.core.callers import Caller
from danqing.core.errors import DanqingError, RequestTimeout
from danqing.core.studio import Studio
from danqing.core.types import Job


class ClientGone(Exception):
    """The client hung up; what is answered reaches nobody."""


async def wait_for_jobs(
    request: Request, studio: Studio, jobs: Sequence[Job], *, caller: Caller, timeout_s: float
) -> list[Job]:
    """The jobs, ended, in the order given. The request's body must have been read.

    Raises RequestTimeout, or ClientGone, and in any case that it does not return has cancelled the jobs.
    """
    waits = [asyncio.create_task(studio.wait(job.id, caller=caller)) for job in jobs]
    ended = asyncio.gather(*waits)
    gone = asyncio.create_task(_until_gone(request))
    try:
        await asyncio.wait((ended, gone), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            raise ClientGone if gone.done() else RequestTimeout
        return ended.result()
    except BaseException:
        await asyncio.shield(cancel_all(studio, jobs, caller=caller))
        raise
    finally:
        for task in (gone, *waits):
            task.cancel()
        await asyncio.wait((gone, *waits))  # leaves no task behind, and no watcher of a job


async def cancel_all(studio: Studio, jobs: Sequence[Job], *, caller: Caller) -> None:
    """Cancels those that can still be cancelled."""
    for job in jobs:
        with suppress(DanqingError):
            await studio.cancel(job.id, caller=caller)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
