"""What every answer has, and what none tells: a walk over all routes of all dialects."""

import json
import os
import socket
import string
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from danqing.core.errors import StorageFailure
from danqing.http.keys import Keys
from danqing.http.origins import GateRules
from tests.dialects.house import House
from tests.security.asking import LEAKS
from tests.security.walking import FORMS, UUID, a_good_request, a_house, an_app, routes_of

STUDIO = GateRules(loopback_only=False, allowed_origins=frozenset({"https://studio.example"}))
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))  # more by hand
KEYS = Keys(enabled=True, ordinary=frozenset({"ann"}))
ANN = {"X-Auth-Key": "ann"}


def client_of(house: House, app: FastAPI | None = None) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app or an_app(house), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost")


def check_safe(answer: httpx2.Response) -> None:
    headers = answer.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cross-origin-resource-policy"] in ("same-origin", "same-site")
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert "cache-control" in headers
    assert len(headers["x-request-id"]) == 32
    assert "server" not in headers and "x-powered-by" not in headers
    assert "access-control-allow-origin" not in headers


async def test_every_answer_has_safe_headers(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    async with client_of(house) as client:
        seen: set[int] = set()
        for method, path in routes_of(an_app(house)):
            for options in (a_good_request(method, path), {}):
                answer = await client.request(method, path.replace("{", "").replace("}", ""), **options)
                check_safe(answer)
                seen.add(answer.status_code)
    assert {200, 400, 404, 422} <= seen


class Broken:
    """Whatever is asked of it ends in a library's words."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - anything
        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError('File "/srv/danqing/store.py", line 7: <Row object at 0x7f00> of sqlite3')

        return fail


async def test_a_fault_of_ours_tells_nothing(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    app = an_app(house)
    broken = 0
    with capture_logs() as lines:
        async with client_of(house, app) as client:
            house.studio._store = house.studio._reception = house.services.gallery._batches = Broken()  # type: ignore[assignment]
            for method, path in routes_of(app):
                concrete = path.replace("{batch_id}", "b").replace("{task_id}", UUID)
                answer = await client.request(method, concrete, **a_good_request(method, path))
                assert not LEAKS.search(answer.text) or path.startswith(("/openapi.json", "/docs")), answer.text
                assert "division" not in answer.text
                check_safe(answer)
                broken += answer.status_code == 500

    # Then the log knows, and the client has a number to ask for
    assert broken >= 10
    assert sum(line["event"] == "request_failed" for line in lines) == broken


async def test_a_full_disk_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = a_house(tmp_path)

    def full(*_: object) -> None:
        raise StorageFailure from OSError(28, "No space left on device", "/srv/danqing/outputs")

    monkeypatch.setattr(house.artifacts, "staging", full)
    with capture_logs():
        async with client_of(house) as client:
            for path in ("/generate", *FORMS):
                answer = await client.post(path, **a_good_request("POST", path))
                assert answer.status_code == 500, path
                assert not LEAKS.search(answer.text)
                assert "space" not in answer.text and "/srv" not in answer.text


# Any text that httpx2 can put into an address; a NUL is the corpus's.
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["..", "../..", UUID, UUID.replace("-", ""), "%2e", "0", "-1", "'\"><script>", "{}", "a" * 3000]
)
NAMES = st.sampled_from(
    ["prompt", "seed", "width", "height", "size", "n", "mode", "metadata", "stream", "loras", "model", "quality", "x",
     "num_inference_steps", "guidance_scale", "input_image", "mask_image", "response_format", "partial_images", "user"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.sampled_from(["64x64", "auto", "p", "url"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | WORDS, inner, max_size=3),
    max_leaves=6,
)
BODIES = (
    st.dictionaries(NAMES, VALUES, max_size=6).map(lambda body: json.dumps({"prompt": "p"} | body).encode())
    | VALUES.map(lambda body: json.dumps(body).encode())
    | st.binary(max_size=60)
)
KINDS = st.sampled_from(
    [
        "application/json",
        "text/plain",
        "multipart/form-data; boundary=b",
        "application/x-www-form-urlencoded",
        "",
        "\xff",
    ]
)


@st.composite
def requests_to(draw: st.DrawFn, method: str, path: str) -> dict[str, Any]:
    """Something like a request to this route."""
    for name in [name for _, name, _, _ in string.Formatter().parse(path) if name]:
        path = path.replace(f"{{{name}}}", quote(draw(WORDS) or "x"))
    asked: dict[str, Any] = {"method": method, "url": path, "params": draw(st.dictionaries(NAMES, WORDS, max_size=2))}
    if method in ("POST", "PUT", "PATCH"):
        kind = "application/json" if draw(st.booleans()) else draw(KINDS)
        asked |= {"content": draw(BODIES), "headers": {"Content-Type": kind.encode("latin-1")}}
    return asked


@settings(
    max_examples=EXAMPLES,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
async def test_no_answer_tells_of_the_inside(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Each example is one request to each route."""
    house = a_house(tmp_path_factory.mktemp("fuzzed"))
    app = an_app(house)
    asked = {route: data.draw(requests_to(*route)) for route in routes_of(app)}
    async with client_of(house, app) as client:
        for (_, path), one in asked.items():
            answer = await client.request(**one)

            assert answer.status_code < 500 or answer.status_code == 503, answer.text
            if path not in ("/openapi.json", "/docs/5.35.0/{name}"):  # which have words of their own
                assert not LEAKS.search(answer.text), answer.text
            check_safe(answer)


async def test_pictures_are_shown_where_they_may_be(tmp_path: Path) -> None:
    # Given a picture, to be had under the address of each dialect
    house = a_house(tmp_path, keys=KEYS, rules=STUDIO)
    async with client_of(house) as client:
        said = {"prompt": "p", "size": "64x64", "response_format": "url"}
        made = await client.post("/v1/images/generations", json=said, headers=ANN)
        jpeg = await client.post("/v1/images/generations", json={**said, "output_format": "jpeg"}, headers=ANN)
        signed = [answer.json()["data"][0]["url"].removeprefix("http://localhost") for answer in (made, jpeg)]
        job = house.store.matching(lambda _: True)[0]
        addresses = [f"/api/result/{job.id}", *[address.partition("?")[0] for address in signed]]

        # Then within this site alone
        for address in addresses:
            answer = await client.get(address, headers=ANN)
            assert answer.status_code == 200
            assert answer.headers["content-type"] in ("image/png", "image/jpeg")
            assert answer.headers["content-disposition"].startswith('inline; filename="')
            check_safe(answer)
            assert answer.headers["cross-origin-resource-policy"] == "same-site"

            # Or in a page that is welcome
            for page, where in (("https://studio.example/", "cross-origin"), ("https://evil.example/", "same-site")):
                answer = await client.get(address, headers=ANN | {"Referer": page})
                assert answer.headers["cross-origin-resource-policy"] == where

        # And under a signed address in any, but not under one that is made up
        for address in signed:
            answer = await client.get(address)
            assert (answer.status_code, answer.headers["cross-origin-resource-policy"]) == (200, "cross-origin")
            answer = await client.get(address.replace("signature=", "signature=0"))
            assert (answer.status_code, answer.headers["cross-origin-resource-policy"]) == (404, "same-origin")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
async def test_pages_of_strangers_are_refused_by_every_method_everywhere(tmp_path: Path, method: str) -> None:
    house = a_house(tmp_path)
    async with client_of(house) as client:
        for _, path in routes_of(an_app(house)):
            answer = await client.request(method, path, headers={"Origin": "https://evil.example"})
            assert answer.status_code == 403, path
            check_safe(answer)


async def test_no_address_is_ever_fetched(tmp_path: Path) -> None:
    # Given somebody who listens, and would notice
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/a.png"

        # When his address is sent wherever a picture, or anything else, could be
        async with client_of(a_house(tmp_path)) as client:
            for name in (
                "input_image",
                "mask_image",
                "control_image",
                "image",
                "image_url",
                "url",
                "model_id",
                "model",
            ):
                for path in ("/generate", "/v1/images/generations", "/api/generate", "/v1/images/generate"):
                    said = {"prompt": url, "mode": "img2img", "size": "64x64", "width": 64, "height": 64, name: url}
                    await client.post(path, json=said)
                for path in FORMS:
                    await client.post(path, data={"prompt": "p", name: url}, files={"x": ("a.png", url.encode())})
                    await client.post(path, data={"prompt": "p"}, files={name: ("a.png", url.encode())})

        # Then nobody came
        with pytest.raises(BlockingIOError):
            listening.accept()
