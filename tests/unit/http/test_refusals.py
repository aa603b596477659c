"""Who was not let in, as the log has it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from danqing.http.gate import Gate, GateParts
from danqing.http.keys import Keys
from danqing.http.origins import GateRules
from danqing.http.refusals import MOST_ADDRESSES, RefusalLog
from tests.dialects.house import House
from tests.unit.http.made_up import a_dialect
from tests.unit.http.test_gate import red_port, refusal

RED = a_dialect("red", "/red", "/health", health={"status": "ok"}, open_paths=("/red/who",), root={"m": "runs"})
SECRET = "a-key-that-nobody-is-to-read"
KEYS = Keys(enabled=True, ordinary=frozenset({"ann"}), admin="chief")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def asked_from(address: str | None, *, path: str = "/x") -> Scope:
    client = None if address is None else (address, 50000)
    return {"type": "http", "method": "GET", "path": path, "root_path": "", "client": client}


def refused(lines: list[Any]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if name not in ("event", "log_level", "request_id")}
        for line in lines
        if line["event"] == "key_refused"
    ]


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({}, 401, "no_key"),
        ({"X-Auth-Key": SECRET}, 401, "unknown_key"),
        ({"Authorization": f"Bearer {SECRET}"}, 401, "unknown_key"),
        ({"X-Auth-Key": "ann", "Origin": "http://evil.example"}, 403, "foreign_page"),
        ({"X-Auth-Key": "ann", "Host": "evil.example"}, 403, "host_name"),
    ],
)
async def test_who_is_not_let_in_is_a_line_without_his_key(
    tmp_path: Path, headers: dict[str, str], status: int, reason: str
) -> None:
    app = House(tmp_path, keys=KEYS, rules=GateRules(loopback_only=True)).app(RED)
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.7", 50000))
    with structlog.testing.capture_logs() as lines:
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post(f"/red/echo?key={SECRET}", headers=headers)

    assert answer.status_code == status
    (line,) = refused(lines)
    assert line == {"client": "192.0.2.7", "method": "POST", "path": "/red/echo", "status": status, "reason": reason}
    assert [each["log_level"] for each in lines if each["event"] == "key_refused"] == ["warning"]
    assert SECRET not in str(lines)


async def test_other_machines_that_may_not_come_are_a_line(tmp_path: Path) -> None:
    app = House(tmp_path, rules=GateRules(loopback_only=None, local_clients_only=True)).app(RED)
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.7", 50000))
    with structlog.testing.capture_logs() as lines:
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            assert (await client.get("/red/who")).status_code == 403

    assert [line["reason"] for line in refused(lines)] == ["other_machine"]


@pytest.mark.parametrize("path", ["/red/who", "/livez"])
async def test_who_is_let_in_is_none(tmp_path: Path, path: str) -> None:
    with structlog.testing.capture_logs() as lines:
        async with House(tmp_path, keys=KEYS).client(RED) as client:
            assert (await client.get(path, headers={"X-Auth-Key": "ann"})).status_code == 200
            assert (await client.get(path, headers={"X-Auth-Key": "unknown"})).status_code == 200  # it is open

    assert refused(lines) == []


async def test_a_picture_that_lies_open_and_asks_for_a_key_itself_is_a_line() -> None:
    async def no_answer(_request: HTTPConnection, _error: Exception) -> Response:
        raise AssertionError

    parts = GateParts(keys=KEYS, rules=GateRules(loopback_only=False))
    app = Gate(Response(status_code=401), parts=parts, is_open=lambda _path: True, answer_error=no_answer)
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.7", 50000))
    with structlog.testing.capture_logs() as lines:
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/pictures/x.png", headers={"X-Auth-Key": SECRET})).status_code == 401

    assert [(line["path"], line["reason"]) for line in refused(lines)] == [("/pictures/x.png", "unknown_key")]


async def test_handshakes_that_are_refused_are_lines_too(tmp_path: Path) -> None:
    clock, house = Clock(), House(tmp_path, keys=KEYS)
    house.gates = [replace(gate, refusals=RefusalLog(now=clock)) for gate in house.gates]
    async with red_port(house) as url:
        for query, headers, reason in (
            ("", {}, "no_key"),
            (f"?ticket={SECRET}", {}, "stale_ticket"),
            (f"?ticket={SECRET}", {"X-Auth-Key": SECRET}, "unknown_key"),
            ("", {"Origin": "http://evil.example"}, "foreign_page"),
        ):
            clock.now += 1
            with structlog.testing.capture_logs() as lines:
                assert (await refusal(f"{url}/red/ws{query}", **headers))[0] in (401, 403)
            (line,) = refused(lines)
            assert (line["client"], line["path"], line["reason"]) == ("127.0.0.1", "/red/ws", reason)
            assert line["method"] == "WEBSOCKET"
            assert SECRET not in str(lines)


def test_a_flood_is_a_line_a_second_with_a_count() -> None:
    clock = Clock()
    log = RefusalLog(now=clock)
    with structlog.testing.capture_logs() as lines:
        for _ in range(512):
            log.note(asked_from("192.0.2.7"), status=401, reason="no_key")
            clock.now += 1 / 128
        log.note(asked_from("192.0.2.8"), status=401, reason="no_key")

    flood, other = [line for line in refused(lines) if line["client"] == "192.0.2.7"], refused(lines)[-1]
    assert [line.get("untold") for line in flood] == [None, 127, 127, 127]  # in four seconds
    assert (other["client"], other.get("untold")) == ("192.0.2.8", None)


def test_a_flood_from_everywhere_is_bounded_and_forgets_nothing() -> None:
    clock = Clock()
    log = RefusalLog(now=clock)
    with structlog.testing.capture_logs() as lines:
        for number in range(2000):
            log.note(asked_from(f"2001:db8::{number:x}"), status=401, reason="no_key")
        clock.now += 1
        log.note(asked_from("192.0.2.7"), status=401, reason="no_key")

    assert len(refused(lines)) == MOST_ADDRESSES + 1
    assert refused(lines)[-1]["untold_elsewhere"] == 2000 - MOST_ADDRESSES


def test_a_client_at_a_unix_socket_has_no_address() -> None:
    with structlog.testing.capture_logs() as lines:
        RefusalLog().note(asked_from(None), status=401, reason="no_key")

    assert [line["client"] for line in refused(lines)] == ["local"]


def test_a_path_is_told_up_to_a_length() -> None:
    with structlog.testing.capture_logs() as lines:
        RefusalLog().note(asked_from("192.0.2.7", path="/" + "x" * 5000), status=401, reason="no_key")

    assert len(refused(lines)[0]["path"]) == 200
