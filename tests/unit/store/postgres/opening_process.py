"""A program for `test_migration.py`: opens a database several times at once and adds a job each time."""

import asyncio
import sys

from danqing.store.postgres import PostgresStores
from tests.fakes.domain import NO_LIMIT, a_job


async def open_and_add(url: str) -> None:
    stores = await asyncio.to_thread(PostgresStores.open, url)
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    sys.stdout.write(job.id + "\n")
    await stores.close()


async def main(url: str) -> None:
    await asyncio.gather(*(open_and_add(url) for _ in range(3)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
