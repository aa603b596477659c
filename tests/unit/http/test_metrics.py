"""Who may read the figures, and where."""

from pathlib import Path

import httpx2
import pytest

from danqing.http.app import Watching, build_app
from danqing.http.gate import GateParts
from danqing.http.keys import Keys
from danqing.http.metrics import MetricsRoute, build_metrics_app
from danqing.http.origins import GateRules
from tests.dialects.house import House
from tests.unit.http.made_up import a_dialect

PAGE = b"danqing_build_info 1\n"
TYPE = "text/plain; version=0.0.4; charset=utf-8"
KEYS = Keys(enabled=True, ordinary=frozenset({"mine"}), admin="the-admins")


async def page() -> bytes:
    return PAGE


def a_route() -> MetricsRoute:
    return MetricsRoute(read=page, content_type=TYPE)


async def ask(folder: Path, keys: Keys, **headers: str) -> httpx2.Response:
    house = House(folder)
    app = build_app(
        house.services,
        gate=GateParts(keys=keys, rules=GateRules(loopback_only=True)),
        dialects=[a_dialect("red", "/red")],
        watching=Watching(metrics=a_route()),
    )
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get("/metrics", headers=headers)


async def test_where_no_key_is_needed_anybody_reads_them(tmp_path: Path) -> None:
    answer = await ask(tmp_path, Keys(enabled=False))
    assert (answer.status_code, answer.content) == (200, PAGE)
    assert answer.headers["content-type"] == TYPE
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("nobodys", 401), ("mine", 403), ("the-admins", 200)])
async def test_where_keys_are_needed_only_the_administrators_reads_them(
    tmp_path: Path, key: str | None, status: int
) -> None:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    answer = await ask(tmp_path, KEYS, **headers)
    assert answer.status_code == status
    assert (answer.content == PAGE) == (status == 200)


async def ask_own_port(path: str, *, loopback_only: bool, host: str) -> httpx2.Response:
    app = build_metrics_app(a_route(), rules=GateRules(loopback_only=loopback_only))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=f"http://{host}") as client:
        return await client.get(path)


async def test_a_port_of_its_own_needs_no_key_and_has_nothing_else() -> None:
    answer = await ask_own_port("/metrics", loopback_only=False, host="10.0.0.3:9464")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, PAGE, TYPE)
    assert (await ask_own_port("/livez", loopback_only=False, host="api")).json() == {"live": True}
    for path in ("/", "/health", "/v1/models", "/docs", "/openapi.json"):
        assert (await ask_own_port(path, loopback_only=False, host="api")).status_code == 404


async def test_a_page_that_gives_this_machine_a_name_of_its_own_does_not_get_them() -> None:
    answer = await ask_own_port("/metrics", loopback_only=True, host="evil.example")
    assert answer.status_code == 403
    assert PAGE not in answer.content
