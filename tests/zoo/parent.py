"""A server process for tests that kill it: starts one zoo worker, prints its process id, and waits."""

import asyncio
import sys
from pathlib import Path

from tests.zoo.engines import Zoo
from tests.zoo.house import a_house


async def main(folder: Path) -> None:
    """Runs until it is killed; the worker is in the middle of a job that hangs."""
    async with a_house(folder, zoo=Zoo(folder=folder)) as house:
        await house.under_way(await house.submit("hangs"))
        sys.stdout.write(f"worker {house.worker().pid}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
