"""Forms are bounded in number and length, and a large file of one is never in memory as a whole."""

import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from danqing.http.forms import MAX_FIELD_BYTES, MAX_FIELDS, MAX_FILES
from tests.dialects.house import House
from tests.unit.http.made_up import a_dialect, ask

MIB = 1024 * 1024
FORMS = a_dialect("red", "/red", max_body_bytes=60 * MIB)


async def test_a_form_comes_through(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "POST", "/red/form", FORMS, files={"image": b"123"}, data={"prompt": "four"})

    assert answer.json() == {"size": 3, "prompt": 4}


@pytest.mark.parametrize(
    "options",
    [
        {"files": [("image", b"x")] * (MAX_FILES + 1)},
        {"files": {"image": b"x"}, "data": {f"f{i}": "x" for i in range(MAX_FIELDS + 1)}},
        {"files": {"image": b"x"}, "data": {"prompt": "x" * (MAX_FIELD_BYTES + 1)}},
        {"content": b"no form", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        {"content": b"no form", "headers": {"Content-Type": "multipart/form-data"}},
    ],
)
async def test_beyond_the_limits_the_dialect_answers(tmp_path: Path, options: dict[str, Any]) -> None:
    answer = await ask(tmp_path, "POST", "/red/form", FORMS, **options)

    assert (answer.status_code, answer.json()) == (400, {"red": "HTTPException"})


def a_form(file_bytes: int) -> AsyncIterator[bytes]:
    async def parts() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
        for _ in range(file_bytes // MIB):
            yield bytes(MIB)
        yield b"\r\n--b--\r\n"

    return parts()


MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}


async def test_a_large_file_is_never_in_memory(tmp_path: Path) -> None:
    async with House(tmp_path).client(FORMS) as client:
        await client.get("/red/who")  # what is made once is made
        tracemalloc.start()
        try:
            answer = await client.post("/red/form", content=a_form(50 * MIB), headers=MULTIPART)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert answer.json() == {"size": 50 * MIB, "prompt": 0}
    assert peak < 16 * MIB


async def test_a_file_beyond_the_dialects_limit_is_refused_while_it_is_read(tmp_path: Path) -> None:
    async with House(tmp_path).client(FORMS) as client:
        answer = await client.post("/red/form", content=a_form(61 * MIB), headers=MULTIPART)

    assert (answer.status_code, answer.json()) == (413, {"red": "BodyTooLarge"})
