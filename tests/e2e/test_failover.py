"""A cluster whose API processes, nodes and shared parts are killed under the eyes of a client that watches."""

import base64
import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.e2e.cluster import Cluster, a_cluster
from tests.e2e.servers import DEADLINE_S, PNG, Server, until

SEEDS = itertools.count(1)
WAY = ["pending", "processing", "generated", "completed"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all: what is killed is started again."""
    with a_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture(autouse=True)
def gate(cluster: Cluster) -> Iterator[None]:
    """Closed at the beginning; everybody is there at the end."""
    (cluster.folder / "gate").unlink(missing_ok=True)
    yield
    cluster.zoo.open_gate("gate")
    for server in (*cluster.apis, *cluster.nodes):
        if server.process is not None and server.process.poll() is not None:
            server.start()
    cluster.until_whole()


def kill(server: Server) -> None:
    """SIGKILL, as if somebody had pulled the plug."""
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(DEADLINE_S)


def talk(api: Server, client: str = "anna") -> ClientConnection:
    """As the client that it always is."""
    address = f"{api.url.replace('http', 'ws', 1)}/api/ws?client_id={client}"
    return connect(address, open_timeout=DEADLINE_S, close_timeout=1, proxy=None)


def create_job(prompt: str) -> str:
    """For a picture that nobody has asked for before."""
    params = {"prompt": prompt, "width": 64, "height": 64, "steps": 4, "seed": next(SEEDS)}
    return json.dumps({"type": "create_job", "task_type": "text_to_image", "request_id": prompt, "params": params})


def hear_until(connection: ClientConnection, status: str) -> list[dict[str, Any]]:
    """All messages up to the first job_status of that kind."""
    heard: list[dict[str, Any]] = []
    while not heard or heard[-1].get("status") != status:
        heard.append(json.loads(connection.recv(DEADLINE_S)))
    return heard


def states(heard: list[dict[str, Any]]) -> list[str]:
    return [message["status"] for message in heard if message["type"] == "job_status"]


def test_a_websocket_whose_api_process_is_killed_misses_no_state_at_the_other(cluster: Cluster) -> None:
    first, second = cluster.apis
    # Given a client that watches its job run
    with talk(first) as one:
        one.send(create_job("waits at the gate"))
        before = hear_until(one, "processing")
        # When the API process is killed, and the client comes back to the other one
        kill(first)
        with pytest.raises(ConnectionClosed):
            while True:
                one.recv(DEADLINE_S)
    with talk(second) as other:
        cluster.zoo.open_gate("gate")
        after = hear_until(other, "completed")
    # Then every state was told, none before its time, and the picture is there
    told = states(before) + states(after)
    assert [state for n, state in enumerate(told) if state not in told[:n]] == WAY
    assert told == sorted(told, key=WAY.index)
    image = requests.get(f"{second.url}/api/image/{after[-1]['result']['filename']}", timeout=DEADLINE_S)
    assert image.content.startswith(PNG)
    # And a third visit is told nothing again
    with talk(second) as again:
        again.send(json.dumps({"type": "get_status", "job_id": "nobody's", "request_id": "is it silent"}))
        assert json.loads(again.recv(DEADLINE_S))["request_id"] == "is it silent"


def test_a_stream_whose_api_process_is_killed_goes_on_at_the_other_with_its_key(cluster: Cluster) -> None:
    first, second = cluster.apis
    body = {"prompt": "waits at the gate", "size": "64x64", "stream": True, "partial_images": 2}
    key = {"Idempotency-Key": "of this stream"}

    def asked(api: Server) -> requests.Response:
        address = f"{api.url}/v1/images/generations"
        return requests.post(address, json=body, headers=key, stream=True, timeout=DEADLINE_S)

    # Given a stream that has begun, of a job that runs
    with asked(first) as stream:
        assert stream.status_code == 200
        until(lambda: cluster.records.states().count("processing") == 1, "a running job")
        jobs = len(cluster.records.states())
        # When its API process is killed, and the client asks again, at the other one
        kill(first)
        with pytest.raises(requests.RequestException):
            for _ in stream.iter_content():
                pass
    with asked(second) as stream:
        cluster.zoo.open_gate("gate")
        told = [line for line in stream.iter_lines() if line.startswith(b"data: ")]
    # Then it is told to the end
    final = json.loads(told[-1].removeprefix(b"data: "))
    assert final["type"] == "image_generation.completed"
    assert base64.b64decode(final["b64_json"]).startswith(PNG)
    # And no second job was made of it
    assert len(cluster.records.states()) == jobs


def test_a_killed_node_costs_its_watcher_nothing(cluster: Cluster) -> None:
    first, second = cluster.apis
    # Given a client that watches its job run on a node
    with talk(first, "bert") as watching:
        watching.send(create_job("waits at the gate"))
        before = hear_until(watching, "processing")
        # When the nodes that may have it are killed one after the other, the first coming back before the second goes
        for node in cluster.nodes:
            kill(node)
            node.start()
            cluster.until_whole()
        cluster.zoo.open_gate("gate")
        # Then the job is made all the same, and the client sees it go back and to its end
        after = hear_until(watching, "completed")
    assert states(before) == ["pending", "processing"]
    assert states(after)[-3:] == ["processing", "generated", "completed"]
    job_id = cluster.records.newest()
    assert second.task(job_id)["status"] == "completed"


def test_a_redis_that_is_killed_hides_no_end(cluster: Cluster) -> None:
    # Given a client that watches its job run
    with talk(cluster.apis[0], "cleo") as watching:
        watching.send(create_job("waits at the gate"))
        hear_until(watching, "processing")
        # When Redis is gone, the job ends meanwhile, and Redis comes back empty
        cluster.redis.kill()
        cluster.zoo.open_gate("gate")
        # Then the client is told of the end before that
        try:
            hear_until(watching, "completed")
        finally:
            cluster.redis.start()


@pytest.mark.parametrize("others", [0, 12])
def test_a_flushed_broker_loses_no_job(cluster: Cluster, others: int) -> None:
    # Given jobs that run, and others that wait
    running = [api.submit("waits at the gate") for api in cluster.apis]
    waiting = [cluster.apis[n % 2].submit(f"number {n} behind") for n in range(others)]
    # When the broker forgets everything
    cluster.redis.flush()
    cluster.zoo.open_gate("gate")
    # Then all are made
    for job_id in (*running, *waiting):
        cluster.wait_for(job_id, "completed")


def test_a_picture_is_the_same_from_both(cluster: Cluster, tmp_path: Path) -> None:
    first, second = cluster.apis
    job_id = first.submit("for both")
    cluster.wait_for(job_id, "completed")
    assert first.picture(job_id) == second.picture(job_id)
