"""Two hundred clients at once: no state is lost, and the server's memory does not grow with what happens."""

import asyncio
import gc
import tracemalloc
from contextlib import AsyncExitStack
from pathlib import Path

from danqing.core.types import Job
from tests.dialects.house import House
from tests.dialects.live.running import Talker, a_house, create_job, running

CLIENTS = 200
ROUNDS = 3
STEPS = 9
STATES = ["pending", "processing", "generated", "completed"]
MEBIBYTE = 1024 * 1024


async def one_round(house: House, clients: list[Talker], prompt: str) -> None:
    """Every client asks for one of ten pictures, and is told everything."""
    for number, client in enumerate(clients):
        await client.say(create_job(f"{prompt} {number % 10}", request_id=str(number)))
    first = await asyncio.gather(*(client.hear() for client in clients))
    assert [m["status"] for m in first] == ["pending"] * CLIENTS

    listening = asyncio.gather(*(client.hear_until("completed") for client in clients))
    jobs = await house.store.unfinished()
    assert len(jobs) == 10
    await asyncio.gather(*(paint(house, job) for job in jobs))
    for number, heard in enumerate(await listening):
        told = [m for m in heard if m["type"] == "job_status"]
        assert [m["status"] for m in told] == STATES[1:]
        assert {m["request_id"] for m in told} == {str(number)}
        steps = [m["progress"] for m in heard if m["type"] == "job_progress"]
        assert [s["current_step"] for s in steps if s["stage"] == "generating"] == list(range(1, STEPS + 1))


async def paint(house: House, job: Job) -> None:
    await house.painter.start(job.id)
    for step in range(1, STEPS + 1):
        house.painter.step(job.id, step, STEPS)
        await asyncio.sleep(0.01)
    await house.painter.finish(job.id)


async def test_two_hundred_clients_are_told_everything_and_memory_stays_flat(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    async with running(house) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(server.talk(f"client {n}")) for n in range(CLIENTS)]
        await one_round(house, clients, "warm up")
        gc.collect()
        tracemalloc.start()
        try:
            await one_round(house, clients, "first")
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for number in range(ROUNDS):
                await one_round(house, clients, f"pizza {number}")
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()

    # Then what is kept is the jobs themselves and a line for each client and job
    assert grown < ROUNDS * MEBIBYTE
