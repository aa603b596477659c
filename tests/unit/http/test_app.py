"""Where requests go on the shared port and on a dialect's own."""

from pathlib import Path

import pytest
import structlog

from danqing.http.app import HOUSE_BODY_BYTES
from danqing.http.keys import Keys
from tests.dialects.house import House
from tests.unit.http.made_up import a_dialect, ask

RED = a_dialect("red", "/red", "/health", max_body_bytes=10)
BLUE = a_dialect("blue", "/blue", max_body_bytes=20)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/red/nothing", 400, {"red": "HTTPException"}),
        ("/blue/nothing", 400, {"blue": "HTTPException"}),
        ("/blue/full", 400, {"blue": "QueueFull"}),
        ("/blue/broken", 400, {"blue": "ZeroDivisionError"}),
        ("/nothing", 404, {"error": {"code": "http_404", "message": "Not Found"}}),
    ],
)
async def test_each_path_answers_in_its_own_shape(tmp_path: Path, path: str, status: int, body: object) -> None:
    with structlog.testing.capture_logs():
        answer = await ask(tmp_path, "GET", path, RED, BLUE)

    assert (answer.status_code, answer.json()) == (status, body)


@pytest.mark.parametrize("path", ["/", "/nothing", "/livez", "/readyz", "/blue/echo"])
async def test_a_dialect_alone_speaks_on_every_path(tmp_path: Path, path: str) -> None:
    answer = await ask(tmp_path, "GET", path, RED, alone=True)

    assert answer.json() == {"red": "HTTPException"}


@pytest.mark.parametrize(("path", "limit"), [("/red/echo", 10), ("/blue/echo", 20)])
async def test_each_dialect_has_its_body_limit(tmp_path: Path, path: str, limit: int) -> None:
    within = await ask(tmp_path, "POST", path, RED, BLUE, content=b"x" * limit)
    above = await ask(tmp_path, "POST", path, RED, BLUE, content=b"x" * (limit + 1))

    assert (within.status_code, len(within.content)) == (200, limit)
    assert above.status_code == 413


async def test_paths_of_no_dialect_have_a_body_limit_too(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "POST", "/", RED, content=b"x" * (HOUSE_BODY_BYTES + 1))

    assert answer.status_code == 413


async def test_waiting_helps_and_the_answer_says_how_long(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "GET", "/red/full", RED)

    assert answer.headers["retry-after"] == "5"


async def test_a_wrong_method_names_the_right_ones(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "GET", "/red/echo", RED)

    assert answer.headers["allow"] == "POST"


async def test_a_dialect_alone_answers_its_root(tmp_path: Path) -> None:
    rooted = a_dialect("red", "/red", root={"message": "runs"})

    answer = await ask(tmp_path, "GET", "/", rooted, alone=True, headers={"Accept": "text/html"})

    assert answer.json() == {"message": "runs"}


@pytest.mark.parametrize("alone", [True, False])
async def test_house_paths_are_on_every_port(tmp_path: Path, alone: bool) -> None:
    async with House(tmp_path).client(RED, alone=alone) as client:
        assert (await client.get("/docs")).status_code == 200
        assert (await client.post("/tickets")).status_code == 200


async def test_the_document_of_a_port_tells_its_own_dialects(tmp_path: Path) -> None:
    shared = (await ask(tmp_path, "GET", "/openapi.json", RED, BLUE)).json()
    alone = (await ask(tmp_path, "GET", "/openapi.json", BLUE, alone=True)).json()

    assert {"/red/echo", "/blue/echo"} <= set(shared["paths"])
    assert "/blue/echo" in alone["paths"] and "/red/echo" not in alone["paths"]
    assert "security" not in shared


async def test_the_document_tells_that_keys_are_needed(tmp_path: Path) -> None:
    house = House(tmp_path, keys=Keys(enabled=True, ordinary=frozenset({"k"})))
    dialect = a_dialect("red", "/red", open_paths=("/red/who",))

    document = (await ask(tmp_path, "GET", "/openapi.json", dialect, house=house)).json()

    assert document["security"] == [{"header": []}, {"bearer": []}, {"basic": []}]
    assert set(document["components"]["securitySchemes"]) == {"header", "bearer", "basic"}
    assert document["paths"]["/red/who"]["get"]["security"] == []
    assert "security" not in document["paths"]["/red/echo"]["post"]


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/red/who", "GET, HEAD, POST, DELETE"),  # three routes
        ("DELETE", "/docs", "GET, HEAD"),
        ("HEAD", "/tickets", "POST"),
        ("OPTIONS", "/red/echo", "POST"),
    ],
)
async def test_a_wrong_method_names_those_of_every_route(
    tmp_path: Path, method: str, path: str, allowed: str, alone: bool
) -> None:
    answer = await ask(tmp_path, method, path, RED, alone=alone)

    assert answer.headers["allow"] == allowed
