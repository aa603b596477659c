"""Two API processes behind what could be a load balancer: whatever a client does at one holds at the other."""

import asyncio
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import websockets

from tests.e2e.cluster import Cluster, a_small_cluster
from tests.e2e.servers import DEADLINE_S, Server, until

ANN, ADMIN = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer admin"}
WAITING = """
local waiting = 0
for _, key in ipairs(redis.call('KEYS', 'danqing:attended:*')) do
  for _, count in ipairs(redis.call('HVALS', key)) do waiting = waiting + tonumber(count) end
end
return waiting
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With keys, and a rate at which two large pictures may be asked for, and not three."""
    rules = {
        "API_ALLOWED_KEYS": "ann,bob",
        "API_ADMIN_KEY": "admin",
        "DANQING_RATE_LIMIT": "1",
        "DANQING_RATE_BURST": "100",
    }
    with a_small_cluster(tmp_path_factory.mktemp("cluster"), **rules) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def apis(cluster: Cluster) -> tuple[Server, Server]:
    """Both answer, and a node makes their pictures."""
    servers, node = (cluster.api("one"), cluster.api("two")), cluster.node()
    cluster.until_consuming(node)
    return servers


def submit(api: Server, prompt: str, *, key: str = "ann", side: int = 64, steps: int = 4) -> requests.Response:
    """By turbo's API."""
    wanted = {"prompt": prompt, "width": side, "height": side, "num_inference_steps": steps}
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(f"{api.url}/api/generate", json=wanted, headers=headers, timeout=DEADLINE_S)


def task(api: Server, task_id: str) -> dict[str, Any]:
    """As turbo tells it."""
    return requests.get(f"{api.url}/api/task/{task_id}", headers=ANN, timeout=DEADLINE_S).json()["data"]


def under_way(api: Server) -> int:
    """How many jobs are made just now."""
    figures = requests.get(f"{api.url}/api/status", headers=ANN, timeout=DEADLINE_S).json()["data"]["queue"]
    return figures["processing_tasks"]


def test_a_ticket_of_one_opens_a_socket_at_the_other(apis: tuple[Server, Server]) -> None:
    one, other = apis
    ticket = requests.post(f"{one.url}/tickets", headers=ANN, timeout=DEADLINE_S).json()["ticket"]

    async def made() -> list[str]:
        params = {"prompt": "a plain one", "width": 64, "height": 64, "steps": 4}
        asked = {"type": "create_job", "task_type": "text_to_image", "params": params}
        there = websockets.connect(socket_of(other, ticket), open_timeout=DEADLINE_S)
        async with asyncio.timeout(DEADLINE_S), there as socket:
            await socket.send(json.dumps(asked))
            told: list[str] = []
            while not told or told[-1] not in ("completed", "failed", "error"):
                message = json.loads(await socket.recv())
                told.append(message.get("status") or message["type"])
            return told

    assert asyncio.run(made())[-1] == "completed"
    # And no second one, at neither

    async def refused(api: Server) -> None:
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(socket_of(api, ticket), open_timeout=DEADLINE_S)

    for api in apis:
        asyncio.run(refused(api))


def socket_of(api: Server, ticket: str) -> str:
    """Its address for whoever has the ticket."""
    return f"{api.url.replace('http', 'ws')}/api/ws?ticket={ticket}"


def test_progress_is_told_by_whichever_is_asked_and_a_cancel_at_one_is_one(apis: tuple[Server, Server]) -> None:
    one, other = apis
    task_id = submit(one, "waits at the gate").json()["data"]["task_id"]
    # Given that the first of four steps is made
    for api in (other, one):
        until(lambda api=api: task(api, task_id).get("progress") == 25, "the first step")
    # When it is cancelled at the other
    cancelled = requests.post(
        f"{other.url}/v1/tasks/{task_id.replace('-', '')}/cancel", headers=ANN, timeout=DEADLINE_S
    )
    assert cancelled.status_code == 200, cancelled.text
    # Then the node drops it, and makes another one
    next_id = submit(one, "a plain one").json()["data"]["task_id"]
    until(lambda: task(other, next_id)["status"] == "completed", "the next one")
    assert task(one, task_id)["status"] != "completed"


def test_previews_are_streamed_from_the_node(apis: tuple[Server, Server]) -> None:
    # Given a job that goes on only once its node has heard that somebody wants to see previews
    wanted = {"prompt": "waits for a watcher", "stream": True, "partial_images": 1, "size": "64x64"}
    address = f"{apis[1].url}/v1/images/generations"
    with requests.post(address, json=wanted, headers=ANN, stream=True, timeout=DEADLINE_S) as answer:
        assert answer.status_code == 200, answer.text
        kinds = [line.removeprefix(b"event: ") for line in answer.iter_lines() if line.startswith(b"event: ")]
    assert kinds == [b"image_generation.partial_image", b"image_generation.completed"]


def test_a_job_that_is_waited_for_at_both_ends_when_both_have_left(
    apis: tuple[Server, Server], cluster: Cluster
) -> None:
    # Given equal pictures that clients of both wait for in their requests
    wanted = {"prompt": "waits at the gate", "width": 64, "height": 64, "num_inference_steps": 4, "seed": 5}
    clients: list[http.client.HTTPConnection] = []
    for number, api in enumerate(apis, start=1):
        client = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=DEADLINE_S)
        client.request("POST", "/generate", json.dumps(wanted), ANN | {"Content-Type": "application/json"})
        clients.append(client)
        until(lambda number=number: waiting(cluster) == number, "one more who waits")
    until(lambda: under_way(apis[0]) == 1, "one job for both")
    # When one leaves, then it goes on for the other
    clients[0].close()
    until(lambda: waiting(cluster) == 1, "one who waits")
    assert under_way(apis[0]) == 1
    # When the other one leaves too, then it ends
    clients[1].close()
    until(lambda: under_way(apis[1]) == 0, "nothing is made for nobody")


def waiting(cluster: Cluster) -> int:
    """How many wait for jobs in their requests, at all processes."""
    return int(cluster.redis.run("EVAL", WAITING, "0").strip().removeprefix(b":"))


def test_an_owner_has_one_bucket_at_both(apis: tuple[Server, Server]) -> None:
    # Given that each large picture is 42 megapixel-steps, and a bucket holds 100
    def ask(api: Server) -> int:
        return submit(api, "a plain one", key="bob", side=1024, steps=40).status_code

    assert [ask(api) for api in (*apis, *apis)] == [200, 200, 429, 429]


def test_a_client_that_is_connected_to_both_is_told_at_both(apis: tuple[Server, Server]) -> None:
    # Given two connections of one client, one to each
    addresses = [f"{api.url.replace('http', 'ws')}/api/ws?client_id=both" for api in apis]
    params = {"prompt": "a plain one", "width": 64, "height": 64, "steps": 4, "seed": 77}
    asked = {"type": "create_job", "task_type": "text_to_image", "request_id": "r-1", "params": params}

    async def told() -> list[tuple[str, str]]:
        async with (
            asyncio.timeout(DEADLINE_S),
            websockets.connect(addresses[0], additional_headers=ANN, open_timeout=DEADLINE_S) as one,
            websockets.connect(addresses[1], additional_headers=ANN, open_timeout=DEADLINE_S) as other,
        ):
            # When it asks for a picture over the one
            await one.send(json.dumps(asked))
            ends: list[tuple[str, str]] = []
            for socket in (one, other):
                message: dict[str, Any] = {}
                while message.get("status") != "completed":
                    message = json.loads(await socket.recv())
                ends.append((message["job_id"], message["request_id"]))
            return ends

    # Then it is told over both, under the id that it gave
    first, second = asyncio.run(told())
    assert first == second
    assert first[1] == "r-1"


def test_the_studio_page_may_ask_either(apis: tuple[Server, Server]) -> None:
    one, other = apis
    # Given a key that was issued at one
    issued = requests.post(f"{one.url}/studio/keys", json={"name": "Carla"}, headers=ADMIN, timeout=DEADLINE_S).json()
    carla = {"Authorization": f"Bearer {issued['key']}"}

    def status_at(api: Server, path: str) -> int:
        return requests.get(f"{api.url}{path}", headers=carla, timeout=DEADLINE_S).status_code

    # Then the other soon knows it, too
    until(lambda: status_at(other, "/studio/models") == 200, "the key to be known")
    # When its bearer has a picture made at one, then the other streams its previews
    wanted = {"prompt": "waits for a watcher", "width": 64, "height": 64, "num_inference_steps": 4, "seed": "9"}
    form = {"request": (None, json.dumps(wanted))}
    batch = requests.post(f"{one.url}/studio/batches", files=form, headers=carla, timeout=DEADLINE_S).json()
    (job,) = batch["jobs"]
    address = f"{other.url}/studio/events?job={job['id']}"
    with requests.get(address, headers=carla, stream=True, timeout=DEADLINE_S) as answer:
        kinds = [line.removeprefix(b"event: ") for line in answer.iter_lines() if line.startswith(b"event: ")]
    assert b"preview" in kinds
    assert kinds[-2:] == [b"job", b"end"]
    # And what is removed at one is gone at the other
    assert requests.delete(f"{other.url}/studio/jobs/{job['id']}", headers=carla, timeout=DEADLINE_S).ok
    assert status_at(one, f"/studio/jobs/{job['id']}") == 404
    # And a key that is revoked at one soon opens neither, and keeps nothing open

    async def close_code() -> int | None:
        revoked = f"{one.url}/studio/keys/{issued['id']}"
        address = f"{other.url.replace('http', 'ws')}/api/ws"
        async with asyncio.timeout(DEADLINE_S), websockets.connect(address, additional_headers=carla) as socket:
            await asyncio.to_thread(requests.delete, revoked, headers=ADMIN, timeout=DEADLINE_S)
            await socket.wait_closed()
            return socket.close_code

    assert asyncio.run(close_code()) == 1008
    until(lambda: status_at(other, "/studio/models") == 401, "the key to be unknown")
