"""A program for `test_many_processes.py`: a node that takes jobs until there are none, and says which.

arguments: URL, its node's id, and "die" if it is to die with a job in its hands.
"""

import asyncio
import os
import signal
import sys

from danqing.core.clock import utc_now
from danqing.core.shared_store import Node, worker_of_node
from danqing.core.types import Job
from danqing.store.postgres import PostgresStores
from tests.fakes.domain import an_original


async def main(url: str, node_id: str, *, dies: bool) -> None:
    stores = await asyncio.to_thread(PostgresStores.open, url)
    await stores.nodes.beat(Node(id=node_id, name=node_id, started_at=utc_now()), lease_s=600)

    async def take(number: int) -> None:
        worker = worker_of_node(node_id, f"w{number}")
        while (job := await stores.line.claim("tiny", worker, utc_now())) is not None:
            await make(stores, job, dies=dies)

    await asyncio.gather(*(take(number) for number in range(3)))
    await stores.close()


async def make(stores: PostgresStores, job: Job, *, dies: bool) -> None:
    if dies and job.sequence > 20:
        os.kill(os.getpid(), signal.SIGKILL)
    done = await stores.jobs.complete(job.id, len(job.attempts), [an_original(job)], [], utc_now())
    if done is not None:
        sys.stdout.write(done.id + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], dies="die" in sys.argv))
