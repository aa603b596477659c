"""Makes a picture through a running server, over the turbo dialect's HTTP API."""

import base64
import time
from dataclasses import asdict
from typing import cast

import httpx2

from danqing.cli.options import UserError
from danqing.cli.order import FinishedPicture, PictureOrder, Report
from danqing.core.resolve import draw_seed

POLL_INTERVAL_S = 0.1
ANSWER_TIMEOUT_S = 10.0

_Object = dict[str, object]


class ServerClient:
    """Talks to one server. Blocking. Every method raises UserError when the server does not answer as Danqing does."""

    def __init__(self, base_url: str, *, key: str | None = None) -> None:
        """key: for a server that lets nobody in without one."""
        self._url = base_url.rstrip("/")
        self._http = httpx2.Client(
            base_url=self._url,
            timeout=ANSWER_TIMEOUT_S,
            trust_env=False,
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def answers(self) -> bool:
        """True if a Danqing server with a loaded model is there."""
        try:
            health = self._call("GET", "/health")
        except UserError:
            return False
        return health.get("model_loaded") is True

    def make(self, order: PictureOrder, report: Report) -> FinishedPicture:
        """Submits the order, reports its progress and fetches the picture."""
        if order.loras or order.step_cache is not None:
            return self._make_with_more(order, report)
        wanted = {name: value for name, value in asdict(order).items() if value is not None and name != "loras"}
        task_id = str(self._call("POST", "/api/generate", wanted)["task_id"])
        while True:
            task = self._call("GET", f"/api/task/{task_id}")
            match task:
                case {"status": "completed"}:
                    break
                case {"status": "failed"}:
                    raise UserError(f"{self._url}: {task.get('error_message')}")
                case {"status": "pending"}:
                    report(f"waiting, {task.get('queue_position')} in the queue", 0)
                case _:
                    report("denoising", int(str(task.get("progress", 0))))
            time.sleep(POLL_INTERVAL_S)
        picture = self._request("GET", f"/api/result/{task_id}")
        if picture.headers.get("content-type") != "image/png":
            raise UserError(f"{self._url} sent no picture.")
        adjustments = cast(list[object], task.get("adjustments") or [])
        return FinishedPicture(
            content=picture.content, seed=int(str(task["seed"])), adjustments=tuple(map(str, adjustments))
        )

    def _make_with_more(self, order: PictureOrder, report: Report) -> FinishedPicture:
        """Over the openai dialect, for turbo knows no LoRAs and no step cache. Its answer tells no seed, so that is
        chosen here.
        """
        wanted = {name: value for name, value in asdict(order).items() if value is not None}
        seed = draw_seed() if order.seed is None else order.seed
        size = {"size": f"{order.width}x{order.height}"} if order.width and order.height else {}
        if (order.width is None) != (order.height is None):
            raise UserError(
                "With --lora or --step-cache a server is asked for both --width and --height, or for neither."
            )
        wanted = {name: value for name, value in wanted.items() if name not in ("width", "height")}
        report("making the picture", 0)
        answer = self._request("POST", "/v1/images/generations", {**wanted, **size, "seed": seed}, timeout_s=None)
        match _json(answer):
            case {"data": [{"b64_json": str(content)}]}:
                (told,) = cast("list[_Object]", answer.json()["data"])
                adjustments = cast("list[object]", told.get("adjustments") or [])
                return FinishedPicture(
                    content=base64.b64decode(content), seed=seed, adjustments=tuple(map(str, adjustments))
                )
            case {"error": {"message": str(message)}} if answer.status_code != 404:  # of a path that is not there
                raise UserError(f"{self._url}: {message}")
            case _:
                raise UserError(f"{self._url} does not speak the openai dialect, which --lora and --step-cache need.")

    def _request(
        self, method: str, path: str, body: _Object | None = None, *, timeout_s: float | None = ANSWER_TIMEOUT_S
    ) -> httpx2.Response:
        """timeout_s: None waits as long as the server does."""
        try:
            return self._http.request(method, path, json=body, timeout=timeout_s)
        except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
            raise UserError(f"{self._url} does not answer.") from exc

    def _call(self, method: str, path: str, body: _Object | None = None) -> _Object:
        """The `data` of the envelope. Raises UserError with the server's message if the call was refused."""
        envelope = _json(self._request(method, path, body))
        reply = cast(_Object, envelope) if isinstance(envelope, dict) else {}
        data, message = reply.get("data"), reply.get("message")
        if reply.get("code") == 200 and isinstance(data, dict):
            return cast(_Object, data)
        if isinstance(reply.get("code"), int) and isinstance(message, str):
            raise UserError(f"{self._url}: {message}")
        raise UserError(f"{self._url} is not a Danqing server.")


def _json(answer: httpx2.Response) -> object:
    """None for what is no JSON."""
    try:
        return answer.json()
    except ValueError:
        return None
