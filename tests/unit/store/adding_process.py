"""A program for `test_crash.py`: opens a store, then adds jobs for ever and prints the id of each that was answered.

Its caller reads the ids and kills it. With a second argument it may not make any file larger than that many bytes: it
then adds until the store fails, takes the limit away, adds one more, and closes.
"""

import asyncio
import resource
import signal
import sys
from pathlib import Path

from danqing.core.errors import StorageFailure
from danqing.store.job_store import SqlJobStore
from danqing.store.sqlite import SqliteStores
from tests.fakes.domain import NO_LIMIT, a_job, a_request


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def add_for_ever(store: SqlJobStore) -> None:
    while True:
        job = await store.add(a_job(), NO_LIMIT)
        say(job.id)


async def many(path: Path) -> None:
    store = SqliteStores.open(path).jobs
    await asyncio.gather(*(add_for_ever(store) for _ in range(8)))


async def until_full(path: Path, limit: int) -> None:
    stores = SqliteStores.open(path)
    store = stores.jobs
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    job = a_job(request=a_request(prompt="x" * 5000))
    try:
        while True:
            say((await store.add(job, NO_LIMIT)).id)
            job = a_job(request=job.request)
    except StorageFailure:
        say("full")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    say((await store.add(a_job(), NO_LIMIT)).id)
    await stores.close()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        asyncio.run(until_full(Path(sys.argv[1]), int(sys.argv[2])))
    else:
        asyncio.run(many(Path(sys.argv[1])))
