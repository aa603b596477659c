"""A real server with a real worker process: clients that hang up, come back, and repeat themselves over a crash."""

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.e2e.servers import DEADLINE_S, Server, a_server, until

GATE = "waits at the gate"
SYNCHRONOUS = {
    "genserve": ("/generate", {"prompt": GATE, "width": 64, "height": 64}),
    "openai": ("/v1/images/generations", {"prompt": GATE, "size": "64x64", "n": 2}),
    "a stream": ("/v1/images/generations", {"prompt": GATE, "size": "64x64", "stream": True, "partial_images": 1}),
}


def send(server: Server, path: str, body: dict[str, object], **headers: str) -> socket.socket:
    """A connection on which a request was sent, and nothing is read."""
    address = urlsplit(server.url)
    content = json.dumps(body)
    head = {"Host": address.netloc, "Content-Type": "application/json", "Content-Length": str(len(content)), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", content]
    connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=DEADLINE_S)
    connection.sendall("\r\n".join(lines).encode())
    return connection


def queue(server: Server) -> dict[str, int]:
    return requests.get(f"{server.url}/api/status", timeout=10).json()["data"]["queue"]


def test_who_hangs_up_frees_the_worker_and_who_repeats_himself_gets_his_job_over_a_crash(tmp_path: Path) -> None:
    with a_server(tmp_path) as server:
        server.start_ready()
        cancelled = 0
        for path, body in SYNCHRONOUS.values():
            # Given a client whose picture is being made, and takes for ever
            with send(server, path, body):
                until(lambda: queue(server)["processing_tasks"] > 0, "a running job")
            # When its connection breaks, then its jobs are cancelled, those that wait too
            cancelled += int(str(body.get("n", 1)))
            until(lambda: queue(server)["pending_tasks"] == queue(server)["processing_tasks"] == 0, "nothing to do")
            # And the worker is free for others
            server.wait_for(server.submit("a tea pot"), "completed")

        # Given a client that says who it is, and hangs up
        key, other_key = {"Idempotency-Key": "mine"}, {"Idempotency-Key": "mine, too"}
        path, body = SYNCHRONOUS["genserve"]
        with send(server, path, body, **other_key):
            until(lambda: queue(server)["processing_tasks"] > 0, "a running job")
        # And one that submits under a key
        submit = {"prompt": "a tea pot", "width": 64, "height": 64}
        first = requests.post(f"{server.url}/api/generate", json=submit, headers=key, timeout=10).json()["data"]
        # When the server is killed and started again
        server.kill_everything()
        server.start_ready()
        server.zoo.open_gate("gate")
        # Then both get what was theirs
        again = requests.post(f"{server.url}/api/generate", json=submit, headers=key, timeout=10).json()["data"]
        assert again["task_id"] == first["task_id"]
        picture = requests.post(f"{server.url}{path}", json=body, headers=other_key, timeout=DEADLINE_S).json()
        assert picture["success"]
        server.wait_for(first["task_id"], "completed")
        assert queue(server)["total_tasks"] == cancelled + len(SYNCHRONOUS) + 2
        assert queue(server)["completed_tasks"] == len(SYNCHRONOUS) + 2
