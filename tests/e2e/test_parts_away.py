"""PostgreSQL, Redis and the object store away, under real processes: what clients are told, and what a start does."""

import contextlib
import json
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from openai import OpenAI
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.e2e.cluster import Cluster, a_cluster, a_small_cluster, is_ready
from tests.e2e.servers import DEADLINE_S, PNG, Server, a_server, until
from tests.services.ports import free_ports
from tests.services.redis import RedisServer
from tests.services.s3 import s3_server

JOB = "0d7a4e0e-3c3f-4f5e-9a6b-6d7f2b1c8e90"  # that nobody has
PROMPT = {"prompt": "a tea pot", "width": 64, "height": 64}
# One request of each kind of each dialect that needs the database.
NEEDS_DATABASE = {
    "turbo-submit": ("POST", "/api/generate", PROMPT),
    "turbo-task": ("GET", f"/api/task/{JOB}", None),
    "genserve": ("POST", "/generate", PROMPT),
    "zimage-submit": ("POST", "/v1/images/generate", PROMPT),
    "zimage-task": ("GET", f"/v1/tasks/{JOB.replace('-', '')}", None),
    "zimage-history": ("GET", "/v1/history", None),
    "openai": ("POST", "/v1/images/generations", {"prompt": "a tea pot", "size": "64x64"}),
    "studio": ("GET", "/studio/batches", None),
    "studio-job": ("GET", f"/studio/jobs/{JOB}", None),
}
SHAPES = {
    "turbo": {"code", "message", "data"},
    "genserve": {"error"},
    "zimage": {"detail"},
    "openai": {"error"},
    "studio": {"error"},
}


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with a_cluster(folder, apis=1, nodes=1, api_command=("-m", "danqing", "serve")) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """One API process and one node, over parts that may be killed: they are there again for the next test."""
    assert shared_cluster.objects is not None
    yield shared_cluster
    for part in (shared_cluster.postgres, shared_cluster.objects):
        if not part.runs:
            part.start()
    shared_cluster.until_whole()


def ask(api: Server, method: str, path: str, body: dict[str, Any] | None) -> requests.Response:
    return requests.request(method, f"{api.url}{path}", json=body, timeout=DEADLINE_S)


def create_job(request_id: str) -> str:
    """A message of live's."""
    return json.dumps({"type": "create_job", "task_type": "text_to_image", "request_id": request_id, "params": PROMPT})


def heard(live: ClientConnection, request_id: str) -> dict[str, Any]:
    """The next message about this request."""
    while True:
        told = json.loads(live.recv(DEADLINE_S))
        if told.get("request_id") == request_id:
            return told


def test_while_postgresql_is_away_each_dialect_says_when_to_try_again(cluster: Cluster) -> None:
    (api,) = cluster.apis
    before = len(api.log)
    with connect(
        f"{api.url.replace('http', 'ws', 1)}/api/ws?client_id=ann", open_timeout=DEADLINE_S, proxy=None
    ) as live:
        # Given a PostgreSQL that is killed
        cluster.postgres.crash()
        # Then every request that needs it is refused for now, in the shape of its dialect
        with ThreadPoolExecutor(len(NEEDS_DATABASE)) as threads:
            answers = dict(
                zip(NEEDS_DATABASE, threads.map(lambda wanted: ask(api, *wanted), NEEDS_DATABASE.values()), strict=True)
            )
        assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(NEEDS_DATABASE, 503)
        for name, answer in answers.items():
            assert int(answer.headers["Retry-After"]) > 0, name
            assert answer.json().keys() >= SHAPES[name.partition("-")[0]], name
            assert "psycopg" not in answer.text and "Traceback" not in answer.text
        # And so is a message of a WebSocket, which stays open
        live.send(create_job("r1"))
        told = heard(live, "r1")
        assert told["type"] == "error"
        assert "try again" in told["message"]
        # When an official client of OpenAI's asks, which tries again by itself, and PostgreSQL comes back meanwhile
        openai = OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=10, timeout=DEADLINE_S)
        refused = api.log.count('"route": "/v1/images/generations"')
        with openai, ThreadPoolExecutor(1) as threads:
            made = threads.submit(openai.images.generate, prompt="a plain one", size="64x64")  # pyright: ignore[reportArgumentType]
            until(lambda: api.log.count('"route": "/v1/images/generations"') > refused, "a request that was refused")
            cluster.postgres.start()
            # Then it gets its picture
            assert made.result(DEADLINE_S).data
        # And so does who asks over the WebSocket
        live.send(create_job("r2"))
        while told.get("status") != "completed":
            told = heard(live, "r2")
    assert '"request_failed"' not in api.log[before:]


def test_while_the_object_store_is_away_its_pictures_are_refused_for_now(cluster: Cluster) -> None:
    (api,) = cluster.apis
    assert cluster.objects is not None
    done = cluster.wait_for(api.submit("a plain one"), "completed")
    # Given an object store that is killed
    cluster.objects.kill()
    answer = ask(api, "GET", f"/api/result/{done['task_id']}", None)
    # Then who wants a picture is to try again
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    # And jobs are accepted all the same, and made when it is back
    waiting = api.submit("another one")
    cluster.objects.start()
    cluster.wait_for(waiting, "completed")
    until(lambda: ask(api, "GET", f"/api/result/{done['task_id']}", None).content.startswith(PNG), "the picture")


def test_while_redis_is_away_a_ticket_is_not_called_bad(tmp_path: Path) -> None:
    with a_small_cluster(tmp_path, API_ENABLE_AUTH="true", API_ALLOWED_KEYS="ann") as cluster:
        api = cluster.api()
        key = {"Authorization": "Bearer ann"}
        ticket = requests.post(f"{api.url}/tickets", headers=key, timeout=DEADLINE_S).json()["ticket"]
        # Given a Redis that is killed
        cluster.redis.kill()
        # Then none is issued, and who has one is to try again
        refused = requests.post(f"{api.url}/tickets", headers=key, timeout=DEADLINE_S)
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
        with pytest.raises(InvalidStatus) as caught:
            connect(f"{api.url.replace('http', 'ws', 1)}/api/ws?ticket={ticket}", open_timeout=DEADLINE_S, proxy=None)
        assert caught.value.response.status_code == 503
        # And jobs are accepted
        assert requests.post(f"{api.url}/api/generate", json=PROMPT, headers=key, timeout=DEADLINE_S).ok


# At the start


def knows_its_port(server: Server) -> str:
    """The address at which it will answer, before it does."""
    (port,) = free_ports(1)
    server.settings["DANQING_PORT"] = str(port)
    server.url = f"http://127.0.0.1:{port}"
    return server.url


def answers(url: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{url}/livez", timeout=2).status_code == 200
    return False


def ends_soon(server: Server) -> int:
    """Its status, once it was told to end."""
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    return server.process.wait(DEADLINE_S)


@pytest.mark.parametrize("own_workers", [True, False], ids=["with its own workers", "with nodes"])
def test_a_server_started_without_its_database_waits_for_it(tmp_path: Path, own_workers: bool) -> None:
    with a_cluster(tmp_path, apis=0, nodes=0, has_objects=False) as cluster:
        api = cluster.new_api("api", () if own_workers else ("-m", "danqing", "serve"))
        if own_workers:
            api.settings.pop("REDIS_URL")
        url = knows_its_port(api)
        # Given a PostgreSQL that is not there, when a server is started
        cluster.postgres.stop()
        api.process = api.popen()
        until(lambda: answers(url), "a server that lives")
        # Then it is alive, not ready, and says so in each dialect's shape
        until(lambda: '"waiting_for_part"' in api.log, "a line in the log")
        assert '"part": "database"' in api.log
        assert requests.get(f"{url}/readyz", timeout=9).status_code == 503
        assert requests.get(f"{url}/health", timeout=9).json()["data"]["model_loaded"] is False
        for name, (method, path, body) in NEEDS_DATABASE.items():
            answer = ask(api, method, path, body)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), name
            assert answer.json().keys() >= SHAPES[name.partition("-")[0]], name
        with pytest.raises(InvalidStatus) as caught:
            connect(f"{url.replace('http', 'ws', 1)}/api/ws", open_timeout=DEADLINE_S, proxy=None)
        assert caught.value.response.status_code == 503
        assert api.process.poll() is None
        # And once the database is there, so is the server
        cluster.postgres.start()
        until(lambda: is_ready(api), "a server that is ready")
        assert '"part_there"' in api.log
        # And one that waits ends as soon as it is told to
        assert ends_soon(api) == 0
        cluster.postgres.stop()
        waits = api.log.count('"waiting_for_part"')
        api.process = api.popen()
        until(lambda: api.log.count('"waiting_for_part"') > waits, "a second wait")
        assert ends_soon(api) == 0


def test_a_node_started_without_anything_waits_for_each(tmp_path: Path) -> None:
    with a_cluster(tmp_path, apis=1, nodes=1, api_command=("-m", "danqing", "serve")) as cluster:
        (api,), (node,), objects = cluster.apis, cluster.nodes, cluster.objects
        assert objects is not None
        api.start()
        waiting = api.submit("a plain one")
        # Given that nothing is there, when a node is started
        objects.kill()
        cluster.redis.kill()
        cluster.postgres.stop()
        node.start()
        # Then it waits for one after the other
        until(lambda: '"part": "object store"' in node.log, "a node that waits for the object store")
        assert node.has_logged("part_away")  # Redis
        objects.start()
        until(lambda: '"part": "database"' in node.log, "a node that waits for the database")
        cluster.postgres.start()
        until(lambda: node.told_id != "", "a node that has started")
        # And makes what there is once it can be told of it
        cluster.redis.start()
        cluster.wait_for(waiting, "completed")
        # And one that waits ends as soon as it is told to
        assert ends_soon(node) == 0
        cluster.postgres.stop()
        waits = node.log.count('"part": "database"')
        node.start()
        until(lambda: node.log.count('"part": "database"') > waits, "a second wait")
        assert ends_soon(node) == 0


def test_a_node_ends_while_its_broker_is_away_from_the_start(tmp_path: Path) -> None:
    with a_small_cluster(tmp_path) as cluster:
        cluster.redis.kill()
        node = cluster.node()
        assert node.id
        until(lambda: node.has_logged("part_away"), "a node that says what is away")
        assert ends_soon(node) == 0


def test_a_server_with_its_own_workers_waits_for_its_object_store(tmp_path: Path) -> None:
    with s3_server() as objects, a_server(tmp_path, command=(), **objects.environment("one")) as api:
        url = knows_its_port(api)
        objects.kill()
        api.process = api.popen()
        until(lambda: '"part": "object store"' in api.log, "a server that waits")
        until(lambda: answers(url), "a server that lives")
        assert not is_ready(api)
        objects.start()
        until(lambda: is_ready(api), "a server that is ready")


@pytest.mark.parametrize(
    ("command", "settings", "said"),
    [
        ("serve", {"DATABASE_URL": "postgresql://danqing@127.0.0.1:{postgres}/there_is_none"}, "no such database"),
        ("worker", {"DANQING_S3_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ("serve", {"DANQING_OBJECT_STORE": "s3://there-is-none/x"}, "NoSuchBucket"),
        (
            "worker",
            {"REDIS_URL": "redis://:wrong@127.0.0.1:{locked}/0"},
            "REDIS_URL: 127.0.0.1:{locked}/0: wrong password",
        ),
        ("serve", {"DATABASE_URL": "postgresql://127.0.0.1:{nobody}/x", "DANQING_START_WAIT_S": "0"}, "nobody listens"),
    ],
    ids=["database", "key", "bucket", "redis", "no patience"],
)
def test_what_says_no_ends_a_start(
    cluster: Cluster, locked: RedisServer, tmp_path: Path, command: str, settings: dict[str, str], said: str
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        ports = {"postgres": cluster.postgres.port, "locked": locked.port, "nobody": nobody.getsockname()[1]}
        wrong = {name: value.format(**ports) for name, value in settings.items()}
        with a_server(tmp_path, command=("-m", "danqing", command), **(cluster.settings | wrong)) as server:
            server.process = server.popen()
            assert server.process.wait(DEADLINE_S) == 1
    assert said.format(**ports) in server.log
    assert '"waiting_for_part"' not in server.log
    assert "wrong@" not in server.log


@pytest.fixture(scope="module")
def locked() -> Iterator[RedisServer]:
    """A Redis that wants a password."""
    locked = RedisServer(password="open sesame")
    locked.start()
    try:
        yield locked
    finally:
        locked.kill()
