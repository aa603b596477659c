"""`Idempotency-Key` on every submit of every dialect that has submits over HTTP, and too many jobs of one owner."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from danqing.core.orders import Limits
from danqing.core.states import JobState
from danqing.http.keys import Keys
from danqing.wiring.apps import build_dialects
from tests.dialects.house import House
from tests.dialects.openai.parts import ALIASES, editing_card, png

Body = dict[str, Any]


@dataclass(frozen=True)
class Submit:
    """One way of asking for a picture. invalid: the status of a request that is not valid."""

    path: str
    body: Callable[[str], Body]
    invalid: int = 400

    async def send(self, client: httpx2.AsyncClient, prompt: str = "a cat", **headers: str) -> httpx2.Response:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        return await client.post(self.path, headers=raw, **self.body(prompt))


def in_json(**fields: object) -> Callable[[str], Body]:
    return lambda prompt: {"json": {"prompt": prompt, **fields}}


def in_form(name: str, **fields: str) -> Callable[[str], Body]:
    """With a picture; packed anew each time."""
    return lambda prompt: {
        "content": None,
        "data": {"prompt": prompt, **fields},
        "files": {name: (f"{secrets.token_hex(4)}.png", png(size=(64, 64)), "image/png")},
    }


SIZE = {"width": 128, "height": 128}
SUBMITS = {
    "turbo": Submit("/api/generate", in_json(**SIZE)),
    "zimage": Submit("/v1/images/generate", in_json(**SIZE, metadata={"any": "thing"}), invalid=422),
    "genserve": Submit("/generate", in_json(**SIZE)),
    "genserve's form": Submit("/generate/img2img", in_form("input_image", mode="img2img", width="64", height="64")),
    "generations": Submit("/v1/images/generations", in_json(size="128x128", n=2)),
    "edits": Submit("/v1/images/edits", in_form("image", size="64x64")),
    "variations": Submit("/v1/images/variations", lambda _: in_form("image", size="64x64")("")),
}


@asynccontextmanager
async def talking(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    async with house.client(*build_dialects()) as client:
        yield client


def a_house(root: Path, **options: Any) -> House:  # noqa: ANN401 - of House
    return House(root, automatic=True, aliases={**ALIASES, "flux1-dev": "default"}, card=editing_card(), **options)


def key_of(name: str) -> dict[str, str]:
    """A header of that submit's own."""
    return {"Idempotency-Key": f'{name}, "as clients write them"'}


async def jobs_in(house: House) -> int:
    return sum((await house.store.counts()).values())


async def test_a_submit_that_is_sent_again_makes_no_job(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    async with talking(house) as client:
        # Given each kind of submit under a key
        first = {name: await submit.send(client, **key_of(name)) for name, submit in SUBMITS.items()}
        assert {answer.status_code for answer in first.values()} == {200}
        made = await jobs_in(house)
        # When each is sent again, to a server that stops
        house.studio.stop_accepting()
        for name, submit in SUBMITS.items():
            again = await submit.send(client, **key_of(name))
            # Then the answer is that of its jobs
            assert again.status_code == 200, again.text
            assert _telling(again.json()) == _telling(first[name].json())
        assert await jobs_in(house) == made
        # And without the key it is another submit
        assert (await SUBMITS["turbo"].send(client)).status_code == 503


def _telling(answer: Any) -> Any:  # noqa: ANN401 - JSON
    """Without times, and what is counted in line."""
    unlike = ("created", "usage", "queue_position", "status", "elapsed_time")
    if isinstance(answer, dict):
        return {name: _telling(value) for name, value in answer.items() if name not in unlike}
    return answer


async def test_another_submit_under_the_key_is_told_so_in_the_dialects_shape(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    async with talking(house) as client:
        for name, submit in SUBMITS.items():
            assert (await submit.send(client, **key_of(name))).status_code == 200
            made = await jobs_in(house)
            other = SUBMITS["edits"] if name == "variations" else submit  # variations say little
            refused = await other.send(client, "a dog", **key_of(name))
            assert refused.status_code == 422
            assert await jobs_in(house) == made
            _check_told(refused)


def _check_told(refused: httpx2.Response) -> None:
    match refused.json():
        case {"code": 422, "message": str(message), "data": {}}:
            assert "Idempotency-Key" in message
        case {"detail": [{"loc": ["header", "Idempotency-Key"], "type": "idempotency_key_reused"}]}:
            pass
        case {"success": False, "error": str(message)}:
            assert "Idempotency-Key" in message
        case {"error": {"code": "idempotency_key_reused", "param": "Idempotency-Key"}} | {
            "error": "IDEMPOTENCY_KEY_REUSED"
        }:
            assert refused.headers["x-should-retry"] == "false"
        case answer:
            raise AssertionError(answer)


async def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    async with talking(house) as client:
        for key in ("", "x" * 256, "schlüssel", "a\tb"):
            for submit in SUBMITS.values():
                answer = await submit.send(client, **{"Idempotency-Key": key})
                assert answer.status_code == submit.invalid, answer.text
    assert await jobs_in(house) == 0


async def test_two_keys_at_once_are_none(tmp_path: Path) -> None:
    async with talking(a_house(tmp_path)) as client:
        headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        answer = await client.post("/api/generate", json={"prompt": "a cat"}, headers=headers)
    assert answer.status_code == 400


async def test_a_key_is_its_owners(tmp_path: Path) -> None:
    house = a_house(tmp_path, keys=Keys(enabled=True, ordinary=frozenset({"ann", "bob"})))
    submit = SUBMITS["zimage"]
    async with talking(house) as client:
        ids = [
            (await submit.send(client, **key_of("a key"), **{"X-Auth-Key": who})).json()["task_id"]
            for who in ("ann", "bob", "ann")
        ]
    assert ids[0] == ids[2] != ids[1]


async def test_every_submit_documents_the_header(tmp_path: Path) -> None:
    async with talking(a_house(tmp_path)) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    for submit in SUBMITS.values():
        operation = paths[submit.path]["post"]
        (header,) = [one for one in operation["parameters"] if one["in"] == "header"]
        assert (header["name"], header["required"], header["schema"]["maxLength"]) == ("Idempotency-Key", False, 255)
        assert {"422", "4XX"} & operation["responses"].keys()


# More than one owner may have, and more than there is room for


@pytest.mark.parametrize(
    ("limits", "by_dialect"),
    [
        (Limits(max_queue_size=9, max_queue_of_owner=2), dict.fromkeys(SUBMITS, 429)),
        (
            Limits(max_queue_size=2),
            {name: 503 if SUBMITS[name].path in ("/api/generate", "/generate") else None for name in SUBMITS},
        ),
    ],
    ids=["of one owner", "in all"],
)
async def test_who_asks_for_too_much_is_told_when_to_come_back(
    tmp_path: Path, limits: Limits, by_dialect: dict[str, int | None]
) -> None:
    # Given a house where all places are taken
    house = a_house(tmp_path, limits=limits)
    house.painter.begin.clear()
    async with talking(house) as client:
        for number in range(2):
            assert (await SUBMITS["turbo"].send(client, f"no. {number}")).status_code == 200
        assert (await house.store.counts())[JobState.PENDING] == 2
        for name, submit in SUBMITS.items():
            answer = await submit.send(client)
            # Then each dialect says so in its shape, and when to try again
            expected = by_dialect[name]
            assert answer.status_code == expected if expected else answer.status_code in (429, 503), answer.text
            assert 1 <= int(answer.headers["retry-after"]) <= 120
            assert answer.headers.get("x-should-retry") is None
        if limits.max_queue_of_owner is not None:
            told = await SUBMITS["generations"].send(client)
            assert told.json()["error"]["code"] == "rate_limit_exceeded"
