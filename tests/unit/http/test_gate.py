"""Who is let in, over the real app: by HTTP in this process, by WebSocket through a real port."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import websockets

from danqing.core.callers import Caller, owner_of
from danqing.core.errors import Unavailable
from danqing.http.gate import is_below
from danqing.http.keys import Keys
from danqing.http.origins import GateRules
from danqing.http.server import Stop
from danqing.http.tickets import LocalTickets
from tests.dialects.house import House
from tests.unit.http.made_up import a_dialect
from tests.unit.http.serving import serving

RED = a_dialect("red", "/red", "/health", health={"status": "ok"}, open_paths=("/red/who",), root={"m": "runs"})
KEYS = Keys(enabled=True, ordinary=frozenset({"ann", "bob"}), admin="chief")
ANN = "key-" + hashlib.sha256(b"ann").hexdigest()[:32]


def guarded(root: Path) -> House:
    return House(root, keys=KEYS)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("headers", [{}, {"X-Auth-Key": "eve"}, {"Authorization": "Bearer eve"}])
async def test_without_a_known_key_nothing_is_done(tmp_path: Path, headers: dict[str, str], alone: bool) -> None:
    async with guarded(tmp_path).client(RED, alone=alone) as client:
        answer = await client.post("/red/echo", content=b"x", headers=headers)

        assert (answer.status_code, answer.json()) == (401, {"red": "Unauthorized"})
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "x-request-id" in answer.headers
        for path in ("/red/nothing", "/nothing", "/red/who/../echo", "//red/echo", "/docsx", "/tickets"):
            assert (await client.post(path, headers=headers)).status_code == 401


@pytest.mark.parametrize("headers", [{"X-Auth-Key": "ann"}, {"Authorization": "Bearer ann"}])
async def test_with_one_the_caller_is_known(tmp_path: Path, headers: dict[str, str]) -> None:
    async with guarded(tmp_path).client(RED) as client:
        assert (await client.post("/red/echo", content=b"x", headers=headers)).content == b"x"
        assert (await client.get("/red/who", headers=headers)).json() == {"owner": ANN, "sees_all": False}
        basic = await client.get("/red/who", auth=("anybody", "chief"))
        assert basic.json()["sees_all"] is True


async def test_below_a_path_of_a_proxy_the_same_paths_are_open(tmp_path: Path) -> None:
    transport = httpx2.ASGITransport(app=guarded(tmp_path).app(RED), root_path="/img")
    async with httpx2.AsyncClient(transport=transport, base_url="http://danqing.test") as client:
        assert (await client.get("/img/livez")).status_code == 200
        assert (await client.get("/img/red/who")).status_code == 200
        closed = await client.post("/img/red/echo", content=b"x")
        assert (closed.status_code, closed.json()) == (401, {"red": "Unauthorized"})
        large = await client.post("/img/red/echo", content=b"x" * 101, headers={"X-Auth-Key": "ann"})
        assert (large.status_code, large.json()) == (413, {"red": "BodyTooLarge"})


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("headers", [{}, {"X-Auth-Key": "eve"}])
async def test_open_paths_need_no_key(tmp_path: Path, headers: dict[str, str], alone: bool) -> None:
    async with guarded(tmp_path).client(RED, alone=alone) as client:
        for path in ("/", "/health", "/docs", "/openapi.json"):
            assert (await client.get(path, headers=headers)).status_code == 200
        assert (await client.get("/red/who", headers=headers)).json() == {"owner": None, "sees_all": None}


async def test_while_keys_are_off_one_that_is_given_still_tells_callers_apart(tmp_path: Path) -> None:
    async with House(tmp_path).client(RED) as client:
        assert (await client.get("/red/who")).json() == {"owner": "local", "sees_all": True}
        assert (await client.get("/red/who", headers={"X-Auth-Key": "ann"})).json() == {"owner": ANN, "sees_all": True}


async def test_pages_of_strangers_are_refused_with_or_without_keys(tmp_path: Path) -> None:
    for house in (House(tmp_path), guarded(tmp_path)):
        async with house.client(RED) as client:
            evil = {"Origin": "http://evil.example", "X-Auth-Key": "ann"}
            for method in ("POST", "DELETE", "GET"):
                answer = await client.request(method, "/red/who", headers=evil)
                assert (answer.status_code, answer.json()) == (403, {"red": "Forbidden"})
                assert "access-control-allow-origin" not in answer.headers
            assert (await client.options("/red/who", headers=evil)).status_code == 403
            assert (await client.head("/red/who", headers=evil)).status_code == 403


@pytest.mark.parametrize("path", ["/red/who?x=%00", "/red/who?%00", "/red/none?a=b&c=d%00"])
async def test_no_query_has_a_nul(tmp_path: Path, path: str) -> None:
    async with House(tmp_path).client(RED) as client:
        answer = await client.get(path)

    assert (answer.status_code, answer.json()) == (400, {"red": "InvalidRequest"})


async def test_a_misled_browser_is_refused(tmp_path: Path) -> None:
    house = House(tmp_path, rules=GateRules(loopback_only=True))
    async with house.client(RED) as client:
        assert (await client.get("/red/who", headers={"Host": "evil.example"})).status_code == 403
        assert (await client.get("/red/who", headers={"Host": "localhost:8000"})).status_code == 200


async def test_other_machines_are_told_what_to_set(tmp_path: Path) -> None:
    app = House(tmp_path, rules=GateRules(loopback_only=None, local_clients_only=True)).app(RED)

    async def ask(address: str, path: str) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app, client=(address, 50000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.get(path)

    assert (await ask("127.0.0.1", "/red/who")).status_code == 200
    refused = await ask("192.0.2.7", "/red/who")
    assert (refused.status_code, refused.json()) == (403, {"red": "Forbidden"})
    assert "DANQING_API_KEY" in (await ask("192.0.2.7", "/livez")).json()["error"]["message"]


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        ("https://studio.example", True),
        ("http://localhost:3000", True),
        ("http://evil.example", False),
        ("null", False),
    ],
)
async def test_what_a_browser_may_show_to_a_page(tmp_path: Path, origin: str, welcome: bool) -> None:
    house = House(
        tmp_path,
        keys=KEYS,
        rules=GateRules(loopback_only=False, allowed_origins=frozenset({"https://studio.example"})),
    )
    async with house.client(RED) as client:
        preflight = await client.options(
            "/red/echo",
            headers={
                "Origin": origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "x-auth-key,x-stainless-os",
            },
        )
        answers = [
            preflight,
            await client.post("/red/echo", headers={"Origin": origin, "X-Auth-Key": "ann"}),
            await client.post("/red/echo", headers={"Origin": origin}),  # an error can be read too
            await client.post("/red/echo", headers={"Origin": origin, "X-Auth-Key": "ann"}, content=b"x" * 101),
        ]

    assert [answer.headers.get("access-control-allow-origin") for answer in answers] == [
        origin if welcome else None
    ] * 4
    assert all("Origin" in answer.headers["vary"] for answer in answers)
    assert [answer.status_code for answer in answers] == ([204, 200, 401, 413] if welcome else [403] * 4)
    if welcome:
        assert preflight.headers["access-control-allow-headers"] == "x-auth-key,x-stainless-os"
        assert "POST" in preflight.headers["access-control-allow-methods"]


def test_what_lies_below() -> None:
    assert is_below("/", ("/",)) and is_below("/docs/x", ("/docs",)) and is_below("/docs", ("/docs",))
    assert not is_below("/docsx", ("/docs", "/")) and not is_below("/x", ("/",)) and not is_below("", ("/", "/docs"))


@asynccontextmanager
async def red_port(house: House) -> AsyncIterator[str]:
    stop = Stop()
    async with serving(house.app(RED), stop=stop) as ((listener,), _):
        yield listener.url
        stop.request()


async def first_word(url: str, **headers: str) -> str | bytes:
    async with websockets.connect(url.replace("http", "ws", 1), additional_headers=headers) as client:
        return await client.recv()


async def refusal(url: str, **headers: str) -> tuple[int, bytes]:
    with pytest.raises(websockets.InvalidStatus) as caught:
        await first_word(url, **headers)
    return caught.value.response.status_code, bytes(caught.value.response.body or b"")


async def test_a_websocket_needs_a_key_or_a_ticket(tmp_path: Path) -> None:
    async with red_port(guarded(tmp_path)) as url, httpx2.AsyncClient(base_url=url) as client:
        ws = f"{url}/red/ws"
        assert await first_word(ws, **{"X-Auth-Key": "ann"}) == ANN
        assert await refusal(ws) == (401, b'{"red":"Unauthorized"}')
        assert await refusal(ws, **{"X-Auth-Key": "eve"}) == (401, b'{"red":"Unauthorized"}')
        for query in ("key=ann", "token=ann", "ticket=ann", "ticket=", "X-Auth-Key=ann"):
            assert (await refusal(f"{ws}?{query}"))[0] == 401

        # Given a ticket
        assert (await client.post("/tickets")).status_code == 401
        issued = (await client.post("/tickets", headers={"Authorization": "Bearer ann"})).json()
        assert issued["expires_in"] == 60

        # Then it is good once, and not for requests
        assert (await client.post(f"/red/echo?ticket={issued['ticket']}")).status_code == 401
        assert await first_word(f"{ws}?client_id=x&ticket={issued['ticket']}") == ANN
        assert (await refusal(f"{ws}?ticket={issued['ticket']}"))[0] == 401

        # And a stale one takes nothing from who has a key
        assert await first_word(f"{ws}?ticket={issued['ticket']}", **{"X-Auth-Key": "ann"}) == ANN


async def test_a_ticket_is_good_no_longer_than_the_key_that_it_was_issued_for(tmp_path: Path) -> None:
    # Given tickets for the bearer of a key that was issued, and that is revoked before they are used
    house = guarded(tmp_path)
    key, text = await house.services.key_ring.issue("Carla")
    async with red_port(house) as url, httpx2.AsyncClient(base_url=url, headers={"X-Auth-Key": text}) as client:
        tickets = [(await client.post("/tickets")).json()["ticket"] for _ in range(3)]
        assert await first_word(f"{url}/red/ws?ticket={tickets[0]}") == owner_of(key.digest)
        await house.services.key_ring.revoke(key.id)
        # Then they open nothing, and take nothing from who has a key that counts
        assert await refusal(f"{url}/red/ws?ticket={tickets[1]}") == (401, b'{"red":"Unauthorized"}')
        assert await first_word(f"{url}/red/ws?ticket={tickets[2]}", **{"X-Auth-Key": "ann"}) == ANN


async def test_a_stale_ticket_matters_to_nobody_while_keys_are_off(tmp_path: Path) -> None:
    async with red_port(House(tmp_path)) as url:
        assert await first_word(f"{url}/red/ws?ticket=stale") == "local"


class NobodyKnows(LocalTickets):
    """As those in a Redis that is away."""

    async def redeem(self, ticket: str) -> Caller | None:
        raise Unavailable


async def test_a_ticket_that_cannot_be_looked_for_is_not_called_bad(tmp_path: Path) -> None:
    house = guarded(tmp_path)
    house.gates = [replace(gate, tickets=NobodyKnows()) for gate in house.gates]
    async with red_port(house) as url:
        # Then its bearer is to try again
        assert (await refusal(f"{url}/red/ws?ticket=any"))[1] == b'{"red":"Unavailable"}'
        # And who shows a key, or needs none, is let in
        assert await first_word(f"{url}/red/ws?ticket=any", **{"X-Auth-Key": "ann"}) == ANN
    open_house = House(tmp_path)
    open_house.gates = [replace(gate, tickets=NobodyKnows()) for gate in open_house.gates]
    async with red_port(open_house) as url:
        assert await first_word(f"{url}/red/ws?ticket=any") == "local"


async def test_refusing_websockets_does_not_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with red_port(guarded(tmp_path)) as url:
        for _ in range(3):
            assert (await refusal(f"{url}/red/ws"))[0] == 401

    assert [record.message for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_a_websocket_of_a_strangers_page_is_refused(tmp_path: Path) -> None:
    async with red_port(House(tmp_path)) as url:
        ws = f"{url}/red/ws"
        assert await first_word(ws) == "local"
        assert await first_word(ws, Origin=url) == "local"
        for origin in ("http://evil.example", "null"):
            assert await refusal(ws, Origin=origin) == (403, b'{"red":"Forbidden"}')
