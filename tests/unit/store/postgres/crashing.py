"""A program for `test_database_crashes.py`: adds, claims, completes and gives back jobs, and says what was answered.

arguments: URL, its number. It goes on until its standard input ends.
"""

import asyncio
import random
import sys

import structlog

from danqing.core.clock import utc_now
from danqing.core.errors import StorageFailure
from danqing.core.types import Job
from danqing.store.postgres import PostgresStores
from tests.fakes.domain import LOST, NO_LIMIT, a_job, an_original

PAUSE_S = 0.01  # where there is nothing to do, or nothing answers


class Working:
    """Two that add, two that take."""

    def __init__(self, stores: PostgresStores, number: str) -> None:
        self.stores = stores
        self.number = number
        self.chance = random.Random(number)
        self.ended = asyncio.Event()

    def say(self, what: str, job: Job) -> None:
        sys.stdout.write(f"{what} {job.id} {len(job.attempts)}\n")
        sys.stdout.flush()

    async def add(self) -> None:
        while not self.ended.is_set():
            try:
                self.say("added", await self.stores.jobs.add(a_job(owner=self.chance.choice("ab")), NO_LIMIT))
            except StorageFailure:
                await asyncio.sleep(PAUSE_S)

    async def take(self) -> None:
        while not self.ended.is_set():
            try:
                job = await self.stores.line.claim("tiny", f"node-{self.number}/w", utc_now())
            except StorageFailure:
                job = None
            if job:
                self.say("claimed", job)
                await self.end(job)
            else:
                await asyncio.sleep(PAUSE_S)

    async def end(self, job: Job) -> None:
        attempt, again = len(job.attempts), self.chance.random() < 0.2
        while True:
            try:
                if again:
                    moved = await self.stores.jobs.give_back(job.id, attempt, LOST, utc_now())
                else:
                    moved = await self.stores.jobs.complete(job.id, attempt, [an_original(job)], [], utc_now())
            except StorageFailure:
                await asyncio.sleep(PAUSE_S)
                continue
            if moved is not None:
                self.say("back" if again else "done", job)
            return


async def main(url: str, number: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    stores = await asyncio.to_thread(PostgresStores.open, url)
    working = Working(stores, number)
    work = [asyncio.create_task(call()) for call in (working.add, working.add, working.take, working.take)]
    await asyncio.to_thread(sys.stdin.read)
    working.ended.set()
    await asyncio.gather(*work)
    await stores.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
