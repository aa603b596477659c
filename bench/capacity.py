"""A day of 1,000 workers and up to 10,000 jobs a second, from what each shared part costs as measured here.

First every part is measured by itself: processor time for one operation, in the part and in who uses it. Then a day is
gone through minute by minute: quiet at night, two busy times, 10,000 jobs a second at the peak. What a part needs at
most is set beside what is deployed, and the part that saturates first is the first line.

`python bench/capacity.py [--jobs 1000]`; needs `danqing[dev]`. `--costs FILE` keeps the measured costs as JSON, or
reads them if the file is there.
"""

import argparse
import asyncio
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from database_costs import measure_database
from part_costs import celery_messages, job_events
from process_costs import measure_processes
from shared_parts import shared_parts

from danqing.store.postgres_database import Threads

MINUTES = 24 * 60
BEATS_A_LEASE = 5
WATCHED_S = 10.0  # for which a job is watched
LOOK_EVERY_S = 2.0  # the events' comparison with the store
JOBS_A_LOOK = 50
CONNECTIONS = Threads().total


@dataclass(frozen=True, kw_only=True)
class Load:
    """What clients do. peak: jobs a second at the busiest minute; floor: the quietest minute's share of it.

    A worker makes workers_per_s jobs a second. steps: events of a job's progress; streamed: the share of jobs that
    somebody watches; with_previews: the share whose watcher wants previews. polls: questions after a job that is not
    watched. pictures: how often a picture is fetched.
    """

    workers: int = 1000
    peak: float = 10_000.0
    floor: float = 0.2
    worker_per_s: float = 12.0
    steps: int = 9
    streamed: float = 0.3
    with_previews: float = 0.05
    polls: float = 3.0
    pictures: float = 1.0
    lease_s: float = 15.0

    def rate(self, minute: int) -> float:
        """Jobs a second: two humps, at 11 and at 20 o'clock, the second one the higher."""
        hour = minute / 60
        humps = 0.8 * math.exp(-(((hour - 11) / 2.5) ** 2)) + math.exp(-(((hour - 20) / 2.0) ** 2))
        return self.peak * (self.floor + (1 - self.floor) * min(1.0, humps))


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something that all jobs go through. cores_per_job: processor seconds for one job; cores_always: what it needs
    whatever comes. cores: what is deployed of it. what: how, for people.
    """

    name: str
    cores_per_job: float
    cores: float
    what: str
    cores_always: float = 0.0

    def needs(self, rate: float) -> float:
        """Cores at so many jobs a second."""
        return self.cores_always + rate * self.cores_per_job

    @property
    def limit(self) -> float:
        """Jobs a second at which it is used up."""
        return (self.cores - self.cores_always) / self.cores_per_job


@dataclass(frozen=True, kw_only=True)
class Minute:
    """rate: jobs that came in a second; done: that were made; waiting: at its end; wait_s: how long the last of them
    will wait.
    """

    rate: float
    done: float
    waiting: float
    wait_s: float


def day(load: Load, parts: Sequence[Part]) -> list[Minute]:
    """What comes waits where it cannot be made at once; what cannot be taken in waits at the clients."""
    most = min(load.workers * load.worker_per_s, *(part.limit for part in parts))
    minutes: list[Minute] = []
    waiting = 0.0
    for minute in range(MINUTES):
        rate = load.rate(minute)
        done = min(most, rate + waiting / 60)
        waiting = max(0.0, waiting + 60 * (rate - done))
        minutes.append(Minute(rate=rate, done=done, waiting=waiting, wait_s=waiting / most))
    return minutes


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Milliseconds of processor time for one operation, as measured on this machine; wal_bytes and transactions of a
    job; one_owner_per_s: submits of one owner in a second.
    """

    db_submit: float
    db_make: float
    db_poll: float
    db_beat: float
    db_look: float
    transactions: float
    wal_bytes: float
    one_owner_per_s: float
    events_unwatched: float
    events_watched: float
    events_previews: float
    bus_told: float
    bus_watched: float
    broker_publish: float
    broker_take: float
    celery_publish: float
    celery_take: float
    api_submit: float
    api_poll: float
    api_picture: float
    node_make: float
    engine_make: float


def measure_costs(jobs: int, steps: int) -> Costs:
    """Everything by itself, one after the other."""
    with tempfile.TemporaryDirectory() as name, shared_parts(Path(name)) as parts:
        database = measure_database(parts.database_url, parts.postmaster, jobs=jobs, waiting=10 * jobs)
    with tempfile.TemporaryDirectory() as name, shared_parts(Path(name)) as parts:
        url = parts.redis_url
        unwatched = asyncio.run(job_events(url, jobs, steps=steps, watched=False))
        watched = asyncio.run(job_events(url, jobs, steps=steps, watched=True))
        previews = asyncio.run(job_events(url, jobs, steps=steps, watched=True, previews=True))
        publish, take = celery_messages(Path(name), url, 5 * jobs)
    processes = measure_processes(jobs)
    return Costs(
        db_submit=database.submit.part_ms,
        db_make=database.make.part_ms,
        db_poll=database.poll.part_ms,
        db_beat=database.beat.part_ms,
        db_look=database.look.part_ms,
        transactions=database.transactions,
        wal_bytes=database.wal_bytes,
        one_owner_per_s=database.one_owner_per_s,
        events_unwatched=unwatched.part_ms,
        events_watched=watched.part_ms,
        events_previews=previews.part_ms,
        bus_told=unwatched.client_ms,
        bus_watched=watched.client_ms - unwatched.client_ms,
        broker_publish=publish.part_ms,
        broker_take=take.part_ms,
        celery_publish=publish.client_ms,
        celery_take=take.client_ms,
        api_submit=processes.submit,
        api_poll=processes.poll,
        api_picture=processes.picture,
        node_make=processes.make_node,
        engine_make=processes.make_engine,
    )


def parts_of(costs: Costs, load: Load) -> list[Part]:
    """What is deployed is a first guess at what such a load needs; `limit` says where it ends."""
    quiet = 1 - load.streamed
    beats = load.workers / (load.lease_s / BEATS_A_LEASE)
    polls = quiet * load.polls
    events = quiet * costs.events_unwatched + (load.streamed - load.with_previews) * costs.events_watched
    looks = load.streamed * WATCHED_S / LOOK_EVERY_S / JOBS_A_LOOK
    database = costs.db_submit + costs.db_make + (polls + load.pictures) * costs.db_poll + looks * costs.db_look
    api = costs.api_submit + polls * costs.api_poll + load.pictures * costs.api_picture
    return [
        Part(
            name="PostgreSQL, processors",
            cores_per_job=database / 1000,
            cores_always=beats * costs.db_beat / 1000,
            cores=64,
            what="one primary of 64 cores",
        ),
        Part(
            name="broker (Redis)",
            cores_per_job=(costs.broker_publish + costs.broker_take) / 1000,
            cores=1,
            what="one Redis, which has one thread",
        ),
        Part(
            name="events (Redis)",
            cores_per_job=(events + load.with_previews * costs.events_previews) / 1000,
            cores=1,
            what="another Redis",
        ),
        Part(
            name="API processes",
            cores_per_job=(api + load.streamed * costs.bus_watched) / 1000,
            cores=96,
            what="96, on one core each",
        ),
        Part(
            name="nodes, beside the devices",
            cores_per_job=(costs.node_make + costs.engine_make) / 1000,
            cores=load.workers * 2.0,
            what=f"{load.workers} of two cores",
        ),
        Part(
            name="devices",
            cores_per_job=1 / load.worker_per_s,
            cores=load.workers,
            what=f"{load.workers}, {load.worker_per_s:.0f} jobs a second each",
        ),
    ]


def report(costs: Costs, load: Load) -> list[str]:
    """For people."""
    parts = sorted(parts_of(costs, load), key=lambda part: part.limit)
    minutes = day(load, parts)
    lines = [f"{name:<20} {value:10.3f}" for name, value in asdict(costs).items()]
    lines += ["", f"{'part':<28}{'a job, ms':>10}{'at the peak':>14}{'used':>8}{'ends at':>12}   deployed"]
    for part in parts:
        used = part.needs(load.peak) / part.cores
        lines.append(
            f"{part.name:<28}{1000 * part.cores_per_job:>10.3f}{part.needs(load.peak):>8.1f} cores"
            f"{100 * used:>7.0f}%{part.limit:>10.0f}/s   {part.what}"
        )
    worst = max(minutes, key=lambda minute: minute.waiting)
    lines += [
        "",
        f"first to saturate: {parts[0].name}, at {parts[0].limit:.0f} jobs a second",
        f"the day: {sum(minute.rate for minute in minutes) * 60 / 1e6:.0f} million jobs came,"
        f" {sum(minute.done for minute in minutes) * 60 / 1e6:.0f} million were made;"
        f" at most {worst.waiting / 1e6:.2f} million waited, for {worst.wait_s:.0f} s",
        f"log of PostgreSQL: {load.peak * costs.wal_bytes / 1e6:.0f} MB/s,"
        f" {load.peak * costs.transactions:.0f} transactions a second of jobs,"
        f" {load.workers / (load.lease_s / BEATS_A_LEASE):.0f} heartbeats a second",
        f"connections to PostgreSQL: up to {CONNECTIONS} of each process,"
        f" {CONNECTIONS * (load.workers + 96)} in all: behind a pooler, or fewer threads a process",
        f"one owner alone: {costs.one_owner_per_s:.0f} submits a second, for his are stored one after the other",
    ]
    return lines


def measure(quick: bool) -> dict[str, object]:
    """What each part costs, in milliseconds, and at how many jobs a second it ends."""
    load = Load()
    costs = measure_costs(100 if quick else 1000, load.steps)
    ends = {part.name: round(part.limit) for part in sorted(parts_of(costs, load), key=lambda part: part.limit)}
    return {"costs_ms": {name: round(value, 3) for name, value in asdict(costs).items()}, "ends_at_jobs_per_s": ends}


def main() -> None:
    """Prints the costs and the day."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, help="that each cost is measured with")
    parser.add_argument("--costs", type=Path, help="a JSON file of them")
    options = parser.parse_args()
    load = Load()
    if options.costs is not None and options.costs.exists():
        costs = Costs(**json.loads(options.costs.read_text()))
    else:
        costs = measure_costs(options.jobs, load.steps)
        if options.costs is not None:
            options.costs.write_text(json.dumps(asdict(costs), indent=2) + "\n")
    print("\n".join(report(costs, load)))


if __name__ == "__main__":
    main()
