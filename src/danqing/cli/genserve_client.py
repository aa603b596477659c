"""Talks to a running server over the genserve dialect's HTTP API, for the commands that watch and try it."""

import base64
import binascii
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import httpx2

from danqing.cli.options import UserError

ANSWER_TIMEOUT_S = 10.0
PICTURE_TIMEOUT_S = 900.0  # longer than servers usually let a request wait

Object = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What came of one request for a picture. picture: None if there is none; error tells why then.

    seconds: from the first byte sent to the last one received. made_s: of these, what the server says it painted.
    sent_bytes: of the request's body.
    """

    status: int
    picture: bytes | None
    error: str
    seconds: float
    made_s: float
    sent_bytes: int

    @property
    def is_unsupported(self) -> bool:
        """The server understood, and has no model that can."""
        return self.status == 400 and "not supported" in self.error.lower()


class GenServeClient:
    """Talks to one server. Blocking. Every method raises UserError when the server does not answer as Danqing does."""

    def __init__(self, base_url: str, *, key: str | None = None) -> None:
        self._url = (base_url if "://" in base_url else f"http://{base_url}").rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._http = httpx2.Client(base_url=self._url, headers=headers, timeout=ANSWER_TIMEOUT_S, trust_env=False)
        except (httpx2.InvalidURL, ValueError) as exc:
            raise UserError(f"{self._url} is no address of a server, or the key has signs that none has.") from exc

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def status(self) -> Object:
        """`GET /status`."""
        return _object(self._good("/status"), self._url)

    def models(self) -> list[Object]:
        """`GET /models`."""
        entries = self._good("/models")
        if not isinstance(entries, list):
            raise UserError(f"{self._url} is not a Danqing server.")
        return [_object(entry, self._url) for entry in cast(list[object], entries)]

    def figures(self) -> Object | None:
        """Queue and GPU as the turbo dialect's `GET /api/status` tells them; None on a port that does not speak it."""
        response = self._request("GET", "/api/status")
        if response.status_code != 200:
            return None
        data = _object(_json(response, self._url), self._url).get("data")
        return cast(Object, data) if isinstance(data, dict) else None

    def generate(self, fields: Mapping[str, object], pictures: Mapping[str, bytes]) -> Asked:
        """`POST /generate`: pictures as base64."""
        texts = {name: base64.b64encode(content).decode("ascii") for name, content in pictures.items()}
        body = json.dumps({**fields, **texts}).encode()
        began = time.perf_counter()
        response = self._request(
            "POST", "/generate", content=body, headers={"Content-Type": "application/json"}, timeout=PICTURE_TIMEOUT_S
        )
        return self._asked(response, time.perf_counter() - began, len(body))

    def generate_from_form(self, fields: Mapping[str, object], pictures: Mapping[str, bytes]) -> Asked:
        """`POST /generate/img2img`: pictures as files."""
        files = {name: (f"{name}.png", content, "image/png") for name, content in pictures.items()}
        texts = {name: str(value) for name, value in fields.items()}
        began = time.perf_counter()
        response = self._request("POST", "/generate/img2img", data=texts, files=files, timeout=PICTURE_TIMEOUT_S)
        seconds = time.perf_counter() - began
        return self._asked(response, seconds, int(response.request.headers.get("content-length", "0")))

    def _asked(self, response: httpx2.Response, seconds: float, sent_bytes: int) -> Asked:
        reply = _object(_json(response, self._url), self._url)
        image, made_s, error = reply.get("image_base64"), reply.get("elapsed_time"), reply.get("error")
        try:
            picture = base64.b64decode(image, validate=True) if isinstance(image, str) else None
        except (binascii.Error, ValueError) as exc:
            raise UserError(f"{self._url} sent a picture that is not base64.") from exc
        return Asked(
            status=response.status_code,
            picture=picture,
            error=error if isinstance(error, str) else "",
            seconds=seconds,
            made_s=float(made_s) if isinstance(made_s, int | float) else 0.0,
            sent_bytes=sent_bytes,
        )

    def _good(self, path: str) -> object:
        response = self._request("GET", path)
        reply = _json(response, self._url)
        if response.status_code == 200:
            return reply
        error = cast(Object, reply).get("error") if isinstance(reply, dict) else None
        raise UserError(f"{self._url}: {error if isinstance(error, str) else 'it does not speak genserve.'}")

    def _request(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        data: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = ANSWER_TIMEOUT_S,
    ) -> httpx2.Response:
        try:
            return self._http.request(
                method, path, content=content, data=data, files=files, headers=headers, timeout=timeout
            )
        except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
            raise UserError(f"{self._url} does not answer.") from exc


def _json(response: httpx2.Response, url: str) -> object:
    try:
        return response.json()
    except ValueError as exc:
        raise UserError(f"{url} is not a Danqing server.") from exc


def _object(value: object, url: str) -> Object:
    if not isinstance(value, dict):
        raise UserError(f"{url} is not a Danqing server.")
    return cast(Object, value)
