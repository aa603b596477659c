"""Where requests go on the shared port and on a dialect's own."""

from pathlib import Path

import pytest
import structlog

from danqing.http.app import HOUSE_BODY_BYTES
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
        ("/docs", 404, {"error": {"code": "http_404", "message": "Not Found"}}),
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
