"""API processes and nodes in real processes over real servers: what happens when parts of them are killed."""

import asyncio
import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from danqing.cli.worker import DRAINED
from danqing.queue.celery_app import Broker, celery_app, queue_of
from danqing.queue.celery_depths import CeleryDepths
from danqing.queue.celery_publisher import task_id_of
from danqing.store.postgres import PostgresStores
from tests.e2e.cluster import Cluster, a_small_cluster
from tests.e2e.servers import DEADLINE_S, PNG, Server, clean_environment, until
from tests.fakes.domain import NO_LIMIT, a_job, a_request
from tests.services.ports import free_port
from tests.services.rabbitmq import empty_queues, rabbitmq_url

CELERY = [sys.executable, "-m", "celery", "--app", "danqing.celery_app"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with a_small_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def calm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two API processes and a node, for tests that end none of them."""
    with a_small_cluster(tmp_path_factory.mktemp("calm")) as cluster:
        cluster.api("one")
        cluster.api("two")
        cluster.until_consuming(cluster.node())
        yield cluster


def attempts_of(cluster: Cluster, job_id: str) -> list[tuple[str, str | None]]:
    """By which node each attempt was, and with which code it failed. Of a node's attempts in a row the last one: a
    machine that stands still for longer than a lease costs one more.
    """
    sql = "SELECT worker, failure_code FROM attempts WHERE job_id = %s ORDER BY number"
    with psycopg.connect(cluster.database_url) as connection:
        found = [(worker.rpartition("/")[0], code) for worker, code in connection.execute(sql, [job_id])]
    return [list(of_node)[-1] for _, of_node in itertools.groupby(found, key=itemgetter(0))]


def finished(api: Server, task_ids: list[str]) -> None:
    """Each ends in its picture."""
    for task_id in task_ids:
        api.wait_for(task_id, "completed")
        assert api.picture(task_id).startswith(PNG)


def test_a_job_taken_by_one_process_is_made_by_a_node_and_told_by_another(calm_cluster: Cluster) -> None:
    # Given two API processes and a node
    (first, second), (node,) = calm_cluster.apis, calm_cluster.nodes
    # When a job comes in by the one
    task_id = first.submit("a plain one")
    # Then its picture is at the other
    finished(second, [task_id])
    assert attempts_of(calm_cluster, task_id) == [(node.id, None)]


def test_a_job_waits_for_a_node_that_comes_later(cluster: Cluster) -> None:
    # Given an API process, and no node
    api = cluster.api()
    task_id = api.submit("a plain one")
    assert api.task(task_id)["status"] == "pending"
    # When one comes
    cluster.node()
    # Then it makes the job
    finished(api, [task_id])


def test_a_killed_node_costs_an_attempt_and_not_the_job(cluster: Cluster) -> None:
    # Given a node in the middle of a job
    api, first = cluster.api(), cluster.node("first")
    task_id = api.submit("waits at the gate")
    api.wait_for(task_id, "processing")
    waiting = [api.submit(f"number {number}") for number in range(3)]
    # When it is killed with its engine, and another one is there
    first_id = first.id
    first.kill_everything()
    cluster.zoo.open_gate("gate")
    second = cluster.node("second")
    # Then that one makes all of them
    finished(api, [task_id, *waiting])
    assert attempts_of(cluster, task_id) == [(first_id, "server_restarted"), (second.id, None)]


def test_a_node_that_stood_still_gives_up_what_others_have_by_now(cluster: Cluster) -> None:
    # Given a node that is stopped in the middle of a job
    api, first = cluster.api(), cluster.node("first")
    task_id = api.submit("waits at the gate")
    api.wait_for(task_id, "processing")
    first_id = first.id
    first.signal(signal.SIGSTOP)
    # When another one has taken the job over, and the first one goes on
    second = cluster.node("second")
    until(lambda: len(attempts_of(cluster, task_id)) == 2, "another attempt")
    first.signal(signal.SIGCONT)
    # Then it drops its attempt, and takes other jobs
    until(lambda: first.has_logged("attempt_outdated"), "the first node to hear of it")
    cluster.zoo.open_gate("gate")
    finished(api, [task_id])
    assert attempts_of(cluster, task_id) == [(first_id, "server_restarted"), (second.id, None)]
    second.kill_everything()
    finished(api, [api.submit("another one")])


def test_sigterm_finishes_what_runs_and_gives_the_rest_to_others(cluster: Cluster) -> None:
    # Given a node in the middle of a job, and one that waits
    api, first = cluster.api(), cluster.node("first")
    running = api.submit("waits at the gate")
    api.wait_for(running, "processing")
    waiting = api.submit("another one")
    # When it is told to stop
    first.signal(signal.SIGTERM)
    until(lambda: first.has_logged("stopping"), "a node that has heard it")
    cluster.zoo.open_gate("gate")
    # Then it ends with its job, and the other one is made by the next node
    first_id = first.id
    assert first.wait() == 0
    cluster.node("second")
    finished(api, [running, waiting])
    assert dict(attempts_of(cluster, running))[first_id] is None


def test_a_second_signal_gives_back_what_runs(cluster: Cluster) -> None:
    # Given a node in the middle of a job, that may take an hour to stop
    api = cluster.api()
    first = cluster.node("first", DANQING_DRAIN_DEADLINE_S="3600")
    task_id = api.submit("waits at the gate")
    api.wait_for(task_id, "processing")
    first.signal(signal.SIGTERM)
    until(lambda: first.has_logged("stopping"), "a node that has heard it")
    # When a second signal comes
    first.signal(signal.SIGTERM)
    # Then it ends, and another one makes the job at once
    assert first.wait() == 0
    cluster.zoo.open_gate("gate")
    second = cluster.node("second")
    finished(api, [task_id])
    assert attempts_of(cluster, task_id) == [
        (attempts_of(cluster, task_id)[0][0], "server_restarted"),
        (second.id, None),
    ]


def test_a_node_that_is_drained_finishes_its_job_however_long_that_takes(cluster: Cluster) -> None:
    # Given two nodes, one of them in the middle of a job, and a deadline that it would miss
    api = cluster.api()
    first = cluster.node("first", DANQING_DRAIN_DEADLINE_S="0")
    task_id = api.submit("waits at the gate")
    api.wait_for(task_id, "processing")
    # When it is drained, and others come
    drained = danqing(cluster, "workers", "drain", "first")
    assert "Asked 1 node to drain." in drained
    until(lambda: first.has_logged("draining"), "a node that has heard it")
    assert "draining" in danqing(cluster, "workers")
    second = cluster.node("second")
    others = [api.submit(f"number {number}") for number in range(3)]
    finished(api, others)
    assert {node for other in others for node, _ in attempts_of(cluster, other)} == {second.id}
    # Then it still finishes its own, and ends
    assert first.process is not None
    assert first.process.poll() is None
    cluster.zoo.open_gate("gate")
    assert first.wait() == DRAINED
    assert [code for _, code in attempts_of(cluster, task_id)] == [None]
    # And is not listed any more
    listed = danqing(cluster, "workers")
    assert "second" in listed
    assert "first" not in listed


def test_nothing_is_lost_when_the_broker_forgets_everything(cluster: Cluster) -> None:
    # Given jobs that wait, and one that runs
    api, node = cluster.api(), cluster.node()
    running = api.submit("waits at the gate")
    api.wait_for(running, "processing")
    waiting = [api.submit(f"number {number}") for number in range(5)]
    # When the broker is emptied
    cluster.redis.flush()
    cluster.zoo.open_gate("gate")
    # Then all are made
    finished(api, [running, *waiting])
    until(
        lambda: node.has_logged("messages_sent_again") or '"messages_sent_again"' in api.log,
        "messages that are sent again",
    )


def test_a_node_sends_also_for_jobs_of_models_that_it_does_not_make(cluster: Cluster) -> None:
    # Given two nodes of different models, one of which is killed in the middle of a job, with others waiting
    api, plain = cluster.api(), cluster.node("plain", DANQING_MODEL="sample")
    other = cluster.node("other", DANQING_MODEL="sample-edit")
    cluster.until_consuming(plain, other)
    running = api.submit("waits at the gate")
    api.wait_for(running, "processing")
    waiting = [api.submit(f"number {number}") for number in range(2)]
    plain.kill_everything()
    # When no API process is there either, and the broker forgets everything
    api.kill_everything()
    cluster.redis.flush()
    # Then the other node gives back the orphan, and sends for all of them
    depths = CeleryDepths(celery_app(Broker(url=cluster.redis.url, models=())))
    until(lambda: (depths.of(["sample"]) or {}).get("sample", 0) >= 3, "messages for all three")
    assert not other.has_logged("broker_away")
    # And they are made where there is somebody who can
    cluster.zoo.open_gate("gate")
    cluster.node("third", DANQING_MODEL="sample")
    until(lambda: [state_of(cluster, one) for one in (running, *waiting)] == 3 * ["completed"], "all of them made")


def test_a_broker_that_is_killed_and_comes_back_empty_costs_nothing(cluster: Cluster) -> None:
    # Given a job that runs, and one that waits
    api, _ = cluster.api(), cluster.node()
    running = api.submit("waits at the gate")
    api.wait_for(running, "processing")
    waiting = [api.submit("number 0")]
    # When Redis is killed, then jobs are still accepted, and the one that runs ends
    cluster.redis.kill()
    waiting.append(api.submit("number 1"))
    cluster.zoo.open_gate("gate")
    api.wait_for(running, "completed")
    # And when it is back, those that waited are made
    cluster.redis.start()
    finished(api, waiting)


def test_a_job_that_is_cancelled_is_dropped_by_its_node(calm_cluster: Cluster) -> None:
    # Given a job in the middle of its steps
    (api, _), (node,) = calm_cluster.apis, calm_cluster.nodes
    task_id = api.submit("waits at the gate")
    api.wait_for(task_id, "processing")
    # When it is cancelled
    cancel(api, task_id)
    # Then its node is soon free for another one
    finished(api, [api.submit("a plain one")])
    assert state_of(calm_cluster, task_id) == "cancelled"
    assert node.process is not None
    assert node.process.poll() is None


def test_an_api_process_that_is_told_to_stop_answers_those_who_wait(cluster: Cluster) -> None:
    # Given a client that waits for its picture in its request
    api, node = cluster.api(), cluster.node()
    cluster.until_consuming(node)
    with ThreadPoolExecutor() as threads:
        wanted = {"prompt": "waits at the gate", "size": "64x64", "n": 1}
        answer = threads.submit(requests.post, f"{api.url}/v1/images/generations", json=wanted, timeout=DEADLINE_S)
        until(lambda: "processing" in states(cluster), "a job that runs")
        # When the process is told to stop before the picture is there
        assert api.process is not None
        api.process.terminate()
        until(lambda: '"stopping"' in api.log, "a server that has heard it")
        cluster.zoo.open_gate("gate")
        # Then the client still gets it, and the process ends
        assert answer.result().status_code == 200
    assert api.process.wait(DEADLINE_S) == 0


def test_a_job_that_was_stored_and_never_sent_is_made(cluster: Cluster) -> None:
    # Given a job of an API process that died after it had stored it, and before anybody was told
    async def store_it() -> str:
        stores = await asyncio.to_thread(PostgresStores.open, cluster.database_url)
        request = a_request(model="sample", width=64, height=64, num_inference_steps=4)
        job = await stores.jobs.add(a_job(request=request), NO_LIMIT)
        await stores.close()
        return job.id

    task_id = asyncio.run(store_it())
    # When a node comes
    cluster.node()
    # Then it is made
    finished(cluster.api(), [task_id])


def test_everything_holds_on_rabbitmq_too(tmp_path: Path) -> None:
    url = rabbitmq_url()
    queues = [queue_of(model) for model in ("sample", "sample-edit")]
    empty_queues(url, queues)
    with a_small_cluster(tmp_path, broker_url=url) as cluster:
        # Given a node that is killed in the middle of a job, with others waiting
        api, first = cluster.api(), cluster.node("first")
        running = api.submit("waits at the gate")
        api.wait_for(running, "processing")
        waiting = [api.submit(f"number {number}") for number in range(3)]
        first.kill_everything()
        # When all messages are lost as well
        empty_queues(url, queues)
        cluster.zoo.open_gate("gate")
        cluster.node("second")
        # Then another one makes all of them
        finished(api, [running, *waiting])
    empty_queues(url, queues)


def test_celerys_own_programs_see_nodes_and_tasks(cluster: Cluster) -> None:
    # Given a node that is making a picture, and one that waits, and Flower
    api, node = cluster.api(), cluster.node("box")
    cluster.until_consuming(node)
    flower = Flower(cluster)
    try:
        running = api.submit("waits at the gate")
        api.wait_for(running, "processing")
        waiting = api.submit("another one")
        # Then Flower knows the node, and the task by the job's id
        until(lambda: "danqing@box" in (flower.get("workers") or {}), "Flower to know the node")
        task = {"state": "STARTED", "name": "danqing.make_picture"}
        until(
            lambda: task.items() <= (flower.get("tasks") or {}).get(task_id_of(running), {}).items(),
            "the task in Flower",
        )
        # And so do Celery's commands
        box = ("--timeout", "30", "--destination", "danqing@box")
        active = celery(cluster, "inspect", *box, "active", "--json")
        assert task_id_of(running) in active
        # When the one that waits is revoked there, then its job is cancelled
        celery(cluster, "control", *box, "revoke", task_id_of(waiting))
        cluster.zoo.open_gate("gate")
        finished(api, [running])
        until(lambda: state_of(cluster, waiting) == "cancelled", "a job that is cancelled")
        # And when the node is told to shut down there, then it drains
        celery(cluster, "control", "shutdown", replies=False)
        assert node.wait() == DRAINED
        assert node.has_logged("draining")
    finally:
        flower.close()


class Flower:
    """Celery's page, started as an operator would."""

    def __init__(self, cluster: Cluster) -> None:
        port = free_port()
        self._url = f"http://127.0.0.1:{port}/api"
        with (cluster.folder / "flower.log").open("w") as log:
            self._process = subprocess.Popen(
                [*CELERY, "flower", "--address=127.0.0.1", f"--port={port}"],
                env=clean_environment() | cluster.settings | {"FLOWER_UNAUTHENTICATED_API": "true"},
                cwd=cluster.folder,
                stdout=log,
                stderr=log,
            )
        until(lambda: self.get("tasks") is not None, "Flower")

    def get(self, what: str) -> Any:  # noqa: ANN401 - JSON
        """What its own API tells; None while it does not answer."""
        try:
            answer = requests.get(f"{self._url}/{what}", params={"refresh": "1"}, timeout=10)
        except requests.RequestException:
            return None
        return answer.json() if answer.ok else None

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


def celery(cluster: Cluster, *arguments: str, replies: bool = True) -> str:
    """What one of Celery's commands prints. replies: False where the nodes say nothing, which Celery takes ill."""
    done = subprocess.run(
        [*CELERY, *arguments],
        env=clean_environment() | cluster.settings,
        cwd=cluster.folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0 or not replies, done.stderr
    return done.stdout


def states(cluster: Cluster) -> list[str]:
    """Of all jobs."""
    with psycopg.connect(cluster.database_url) as connection:
        return [str(state) for (state,) in connection.execute("SELECT state FROM jobs")]


def state_of(cluster: Cluster, job_id: str) -> str:
    """As the database says."""
    with psycopg.connect(cluster.database_url) as connection:
        row = connection.execute("SELECT state FROM jobs WHERE id = %s", [job_id]).fetchone()
    assert row is not None
    return str(row[0])


def cancel(api: Server, task_id: str) -> None:
    """In the words of the dialect that can."""
    answer = requests.post(f"{api.url}/v1/tasks/{task_id_of(task_id)}/cancel", timeout=10)
    assert answer.status_code == 200, answer.text


def danqing(cluster: Cluster, *arguments: str) -> str:
    """What the command prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "danqing", *arguments],
        env=clean_environment() | cluster.settings,
        cwd=cluster.folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
