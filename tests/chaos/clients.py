"""Clients that submit without a pause, each in its dialect, and note what they were promised."""

import base64
import contextlib
import io
import itertools
import json
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from PIL import Image
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

SIDE = 64
ANSWER_S = 30.0  # a synchronous request may wait for a worker to be replaced
PAUSE_S = (0.1, 0.7)  # between two requests of a client, from and to


class Promises:
    """What servers have answered. For many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.job_ids: set[str] = set()  # of turbo and zimage
        self.fingerprints: set[str] = set()  # live's job ids
        self.pictures = 0  # whole ones, from synchronous requests
        self.refusals: dict[str, int] = {}
        self.torn: list[str] = []

    def accepted(self, job_id: str) -> None:
        """The answer named a job."""
        with self._lock:
            self.job_ids.add(str(uuid.UUID(job_id)))  # zimage writes them without dashes

    def accepted_fingerprint(self, fingerprint: str) -> None:
        """As `accepted`."""
        with self._lock:
            self.fingerprints.add(fingerprint)

    def delivered(self, content: bytes, client: str) -> None:
        """The answer was a picture."""
        try:
            with Image.open(io.BytesIO(content)) as image:
                image.load()
        except (OSError, SyntaxError):
            with self._lock:
                self.torn.append(client)
        else:
            with self._lock:
                self.pictures += 1

    def refused(self, why: str) -> None:
        """An answer that promises nothing."""
        with self._lock:
            self.refusals[why] = self.refusals.get(why, 0) + 1


class Client:
    """One of them, in a thread. The server may be away, and comes back at the same address.

    urls: of several processes, in turn.
    """

    def __init__(self, urls: Sequence[str], dialect: str, promises: Promises, seed: str) -> None:
        self._urls = itertools.cycle(urls)
        self._ask: Callable[[str], None] = getattr(self, f"_{dialect}")
        self._promises = promises
        self._random = random.Random(seed)
        self._name = f"{dialect} {seed}"
        self._session = requests.Session()
        self._session.trust_env = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)

    def start(self) -> None:
        """Begins to submit."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the present request. Call `join` too."""
        self._stop.set()

    def join(self) -> None:
        """Waits for the end."""
        self._thread.join(2 * ANSWER_S)
        assert not self._thread.is_alive(), self._name
        self._session.close()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(self._random.uniform(*PAUSE_S)):
            number += 1
            try:
                self._ask(f"picture {number} of {self._name}")
            except (requests.RequestException, OSError, WebSocketException, TimeoutError):
                self._promises.refused("no answer")
                self._stop.wait(0.1)

    def _post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """None where nothing was promised."""
        answer = self._session.post(f"{next(self._urls)}{path}", json=body, timeout=ANSWER_S)
        if answer.status_code >= 400:
            self._promises.refused(f"{self._name.split()[0]} {answer.status_code}")
            return None
        return answer.json()

    def _turbo(self, prompt: str) -> None:
        if answer := self._post("/api/generate", {"prompt": prompt, "width": SIDE, "height": SIDE}):
            self._promises.accepted(answer["data"]["task_id"])

    def _zimage(self, prompt: str) -> None:
        if answer := self._post("/v1/images/generate", {"prompt": prompt, "width": SIDE, "height": SIDE}):
            self._promises.accepted(answer["task_id"])
            if self._random.random() < 0.1:
                self._post(f"/v1/tasks/{answer['task_id']}/cancel", {})

    def _openai(self, prompt: str) -> None:
        if answer := self._post("/v1/images/generations", {"prompt": prompt, "size": f"{SIDE}x{SIDE}"}):
            self._promises.delivered(base64.b64decode(answer["data"][0]["b64_json"]), self._name)

    def _genserve(self, prompt: str) -> None:
        body = {"prompt": prompt, "mode": "text2img", "width": SIDE, "height": SIDE, "num_inference_steps": 4}
        if answer := self._post("/generate", body):
            self._promises.delivered(base64.b64decode(answer["image_base64"]), self._name)

    def _live(self, prompt: str) -> None:
        params = {"prompt": prompt, "width": SIDE, "height": SIDE, "steps": 4}
        job = {"type": "create_job", "task_type": "text_to_image", "request_id": prompt, "params": params}
        address = f"{next(self._urls).replace('http', 'ws', 1)}/api/ws"
        with connect(address, open_timeout=ANSWER_S, close_timeout=1, proxy=None) as talk:
            talk.send(json.dumps(job))
            answer = json.loads(talk.recv(ANSWER_S))
            if "job_id" in answer:
                self._promises.accepted_fingerprint(answer["job_id"])
            else:
                self._promises.refused("live refusal")


def hang_up(url: str, prompt: str) -> None:
    """Asks for a picture at once, and is gone before it can come."""
    where = urlsplit(url)
    body = json.dumps({"prompt": prompt, "size": f"{SIDE}x{SIDE}"}).encode()
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
    with contextlib.suppress(OSError), socket.create_connection((where.hostname, where.port), timeout=5) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(0.005)
