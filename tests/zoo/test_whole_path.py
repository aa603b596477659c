"""Every engine that misbehaves, from a client's request to what the client is told: a real server, over HTTP."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.chaos.records import PostgresRecords
from tests.dialects.sides import IS_SCALED
from tests.e2e.cluster import a_cluster
from tests.e2e.servers import ANSWER_S, DEADLINE_S, PNG, Server, a_server
from tests.zoo.engines import ONCE_OPEN


@dataclass(frozen=True)
class Animal:
    """What an engine does at a prompt, and what comes of it. attempts: how each ended; None: with the picture."""

    prompt: str
    attempts: tuple[str | None, ...]
    lost_processes: int

    @property
    def is_made(self) -> bool:
        """Whether there is a picture in the end."""
        return self.attempts[-1] is None


ZOO = {
    "slow": Animal(f"slow{ONCE_OPEN}", (None,), 0),
    "killed in a step": Animal("dies once", ("worker_lost", None), 1),
    "out of memory": Animal("out of memory", ("out_of_memory",), 0),
    "hung": Animal("hangs once", ("worker_lost", None), 1),
    "stopped by a signal": Animal("freezes once", ("worker_lost", None), 1),
    "wrong size": Animal("wrong size", ("engine_failure",), 0),
    "sticky error": Animal("poisons the device once", ("engine_failure", None), 1),
    "kills every worker": Animal("dies", ("worker_lost",) * 3, 3),
    # Its second process does not know the usual step yet, so there the time of the whole job is what ends it.
    "never yields": Animal("hangs", ("worker_lost", "job_timeout"), 2),
}


SETTINGS = {"TASK_TIMEOUT": "20"}  # far longer than it takes to find a process that hangs, or is silent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server, or a cluster of one node, for all of them: so each shows that those before it did no lasting harm."""
    folder = tmp_path_factory.mktemp("zoo")
    if IS_SCALED:
        node = ("-m", "tests.zoo.node", str(folder))
        with a_cluster(folder, nodes=1, node_command=node, settings=SETTINGS) as cluster:
            cluster.start()
            yield Server(folder, {"DATABASE_URL": cluster.database_url}, url=cluster.apis[0].url)
        return
    with a_server(folder, command=("-m", "tests.zoo.server", str(folder)), **SETTINGS) as server:
        server.start_ready()
        yield server


def until(come: Callable[[], bool], what: str) -> None:
    """As `servers.until`, but looks less often: what is waited for here takes seconds."""
    deadline = time.monotonic() + DEADLINE_S
    while not come():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


def workers(server: Server) -> dict[str, Any]:
    """What `/status` says of them."""
    return requests.get(f"{server.url}/status", timeout=ANSWER_S).json()["concurrent_manager"]


def attempts(server: Server, job_id: str) -> list[str | None]:
    """How they ended, as the database has it."""
    if (url := server.settings.get("DATABASE_URL")) is not None:
        return [code for of_job, _, code in PostgresRecords(url).attempts() if of_job == job_id]
    with closing(sqlite3.connect(f"file:{server.data_dir / 'danqing.sqlite'}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT failure_code FROM attempts WHERE job_id = ? ORDER BY number", (job_id,))
        return [code for (code,) in rows]


def ended(server: Server, job_id: str) -> str:
    """Waits for the end; returns the status."""
    until(lambda: server.task(job_id)["status"] in ("completed", "failed"), "an end")
    return server.task(job_id)["status"]


@pytest.mark.parametrize("name", ZOO)
def test_a_misbehaving_engine_is_survived_and_told(server: Server, name: str) -> None:
    animal = ZOO[name]
    # Given a server whose worker has made a picture, a job that its engine cannot stand, and an ordinary one behind it
    server.wait_for(server.submit(f"one before {name}"), "completed")
    restarts = workers(server)["total_restarts"]
    bad, good = server.submit(animal.prompt), server.submit(f"one behind {name}")
    if name == "slow":
        server.wait_for(bad, "processing")
        server.zoo.open_gate("gate")
    # When both have ended
    assert ended(server, good) == "completed"
    status = ended(server, bad)
    # Then the bad one has its picture or its error, each attempt's end is on record, and the ordinary one its picture
    assert status == ("completed" if animal.is_made else "failed")
    assert attempts(server, bad) == list(animal.attempts)
    assert server.picture(good).startswith(PNG)
    if animal.is_made:
        assert server.picture(bad).startswith(PNG)
    else:
        assert server.task(bad)["error_message"]

    # And a worker is there, and every process that was lost is counted
    def counted() -> bool:  # where workers are elsewhere, once their node has told
        return workers(server)["total_restarts"] - restarts >= animal.lost_processes

    until(lambda: workers(server)["alive_processes"] == 1 and counted(), "a worker again, after so many lost ones")
    assert workers(server)["total_restarts"] - restarts == animal.lost_processes
    assert workers(server)["dead_processes"] == 0


def test_an_engine_that_dies_while_it_loads_is_told_and_tried_again(tmp_path: Path) -> None:
    with a_server(tmp_path, command=("-m", "tests.zoo.server", str(tmp_path), "dies until the gate is open")) as server:
        # Given processes that die while they load, one after the other
        server.start()
        until(lambda: requests.get(f"{server.url}/status", timeout=ANSWER_S).json()["status"] == "failed", "broken")
        # Then the server answers, says so, and promises nothing
        wanted = {"prompt": "a plain one", "width": 64, "height": 64}
        answer = requests.post(f"{server.url}/api/generate", json=wanted, timeout=ANSWER_S)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        # And once one of them can load, pictures are made
        server.zoo.open_gate("gate")
        until(lambda: requests.get(f"{server.url}/readyz", timeout=ANSWER_S).status_code == 200, "a loaded model")
        assert server.picture(server.wait_for(server.submit("a plain one"), "completed")["task_id"]).startswith(PNG)
        assert workers(server)["total_restarts"] >= 3
