"""What one call of the queue costs with few and with very many jobs waiting: `python bench/waiting_jobs.py`.

Every line is a ratio within one run: had a call to look at all that wait, it would be near the ratio of their numbers.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from danqing.core.types import GenerationRequest, Job, Mode
from danqing.queue.embedded import EmbeddedQueue, QueueRules

CALLS = 500
REQUEST = GenerationRequest(
    model="m",
    mode=Mode.TEXT2IMG,
    prompt="pizza",
    negative_prompt="",
    width=64,
    height=64,
    num_inference_steps=9,
    guidance_scale=0.0,
    seed=1,
)
JOB = Job(id="", owner="", request=REQUEST, fingerprint="f", created_at=datetime.now(UTC))


def jobs(count: int, *, owners: int, seed: int) -> Iterator[Job]:
    """Of many owners, whose turns are mixed."""
    draw = random.Random(seed)
    for number in range(count):
        owner, turn = f"owner-{draw.randrange(owners)}", draw.randrange(10 * count)
        yield replace(JOB, id=f"{seed}-{number}", owner=owner, turn=turn, sequence=number)


async def timed(call: Callable[[int], Awaitable[object]]) -> float:
    """Microseconds a call."""
    began = time.perf_counter()
    for number in range(CALLS):
        await call(number)
    return (time.perf_counter() - began) / CALLS * 1e6


async def costs(waiting: int, owners: int) -> dict[str, float]:
    """Of each kind of call, with about so many jobs waiting throughout."""
    queue = EmbeddedQueue(QueueRules(max_running_of_owner=2))
    for job in jobs(waiting, owners=owners, seed=1):
        await queue.publish(job)
    more = list(jobs(2 * CALLS, owners=owners, seed=2))

    async def take(_: int) -> None:
        queue.done(await queue.take(("m",)))

    async def take_like(_: int) -> None:
        for job_id in await queue.take_like(JOB, 3):
            queue.done(job_id)

    return {
        "publish": await timed(lambda number: queue.publish(more[number])),
        "withdraw": await timed(lambda number: queue.withdraw(f"1-{waiting - 1 - number}")),
        "take": await timed(take),
        "take_like (3)": await timed(take_like),
    }


def measure(quick: bool) -> dict[str, dict[str, float]]:
    """Microseconds of each kind of call, by jobs that wait, and their ratio."""
    return compared(*((1_000, 10_000) if quick else (5_000, 100_000)), owners=1_000)


def compared(few: int, many: int, *, owners: int) -> dict[str, dict[str, float]]:
    """As `measure`."""
    with_few, with_many = (asyncio.run(costs(count, owners)) for count in (few, many))
    return {
        name: {str(few): round(micros, 1), str(many): round(with_many[name], 1), "ratio": with_many[name] / micros}
        for name, micros in with_few.items()
    }


def main() -> None:
    """Prints a line a call."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--few", type=int, default=5_000)
    options.add_argument("--many", type=int, default=100_000)
    options.add_argument("--owners", type=int, default=1_000)
    given = options.parse_args()
    found = compared(given.few, given.many, owners=given.owners)
    numbers = f"ratio (of numbers: {given.many / given.few:.0f})"
    print(f"{'call':14} {given.few:>9,} waiting {given.many:>9,} waiting   {numbers}")
    for name, call in found.items():
        few, many, ratio = call.values()
        print(f"{name:14} {few:14.1f} us {many:14.1f} us {ratio:7.2f}")


if __name__ == "__main__":
    main()
