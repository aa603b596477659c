"""Claims a second of processes that take at once from one line: `python bench/claims.py`, on a PostgreSQL of its own.

Two ways in one run, in turns: the line chooses and claims in one step, as nodes do it; and the peer, which asks which
job is the first and then claims that, so that whoever is not the first to do so looks again.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from growth_rows import WAITS, PostgresFiller

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' helpers

from danqing.store.postgres import PostgresStores
from tests.services.postgres import running_postgres

PROCESSES = (1, 4, 8)
TAKERS = 2  # in each process
ROUNDS = 3
SECONDS = 3.0
WAITING = 20_000
ONE_STEP, TWO_STEPS = "one step", "look, then claim"
ROOT = Path(__file__).parents[1]


async def take(url: str, way: str, seconds: float, most: int | None) -> None:
    """One process: claims from when it is told to, for so long. Says how many it got, and how often it asked."""
    stores = await asyncio.to_thread(PostgresStores.open, url, max_running_of_owner=most)
    claimed = asked = 0

    async def in_turn(worker: str, until: float) -> None:
        nonlocal claimed, asked
        while time.monotonic() < until:
            asked += 1
            if way == ONE_STEP:
                job = await stores.line.claim("tiny", worker, datetime.now(UTC), max_running_of_owner=most)
            else:
                first = await stores.line.first("tiny", 1)
                job = await stores.jobs.claim(first[0].id, worker, datetime.now(UTC)) if first else None
            claimed += job is not None

    await stores.line.waiting()  # so that there are connections
    _say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    until = time.monotonic() + seconds
    await asyncio.gather(*(in_turn(f"node/{number}", until) for number in range(TAKERS)))
    _say(json.dumps({"claimed": claimed, "asked": asked}))
    await stores.close()


def _say(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


def at_once(url: str, way: str, processes: int, seconds: float, most: int | None) -> tuple[float, float]:
    """Claims a second of all together, and how often they asked for each."""
    command = [sys.executable, __file__, "--take", url, way, str(seconds), json.dumps(most)]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outputs = [process.communicate(timeout=120)[0] for process in _told_to_go(running)]
    told = [json.loads(output) for output in outputs]
    claimed, asked = (sum(one[what] for one in told) for what in ("claimed", "asked"))
    return claimed / seconds, asked / max(1, claimed)


def _told_to_go(running: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return running


def measure(quick: bool) -> dict[str, dict[str, float]]:
    """By the number of processes: claims a second in each way, asked for each claim, and the ratio. Medians."""
    rounds, seconds = (1, 1.5) if quick else (ROUNDS, SECONDS)
    found: dict[str, dict[str, float]] = {}
    server = running_postgres()
    for processes in PROCESSES[1:] if quick else PROCESSES:
        figures: dict[str, list[tuple[float, float]]] = {ONE_STEP: [], TWO_STEPS: []}
        for _ in range(rounds):
            for way, several in figures.items():
                url = server.new_database()
                PostgresFiller(url).add(WAITS, WAITING)
                several.append(at_once(url, way, processes, seconds, None))
                server.drop_database(url)
        per_s = {way: statistics.median(rate for rate, _ in several) for way, several in figures.items()}
        asked = {way: statistics.median(number for _, number in several) for way, several in figures.items()}
        found[f"{processes} processes"] = {
            "claims_per_s": round(per_s[ONE_STEP], 1),
            "peer_claims_per_s": round(per_s[TWO_STEPS], 1),
            "ratio": round(per_s[ONE_STEP] / per_s[TWO_STEPS], 2),
            "asked_per_claim": round(asked[ONE_STEP], 2),
            "peer_asked_per_claim": round(asked[TWO_STEPS], 2),
        }
    return found


def main() -> None:
    """Prints a line for each number of processes."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--take", nargs=4, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.take:
        url, way, seconds, most = given.take
        asyncio.run(take(url, way, float(seconds), json.loads(most)))
        return
    for name, figures in measure(given.quick).items():
        print(f"{name}: " + ", ".join(f"{what} {figure}" for what, figure in figures.items()))


if __name__ == "__main__":
    main()
