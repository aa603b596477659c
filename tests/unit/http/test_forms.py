"""Forms are bounded in number and length, and a large file of one is never in memory as a whole."""

import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from danqing.http.body_budget import COUNTED_AT_MOST_BYTES, BodyBudget
from danqing.http.forms import FILE_IN_MEMORY_BYTES, MAX_FIELD_BYTES, MAX_FIELDS, MAX_FILES, MAX_TEXT_BYTES
from tests.dialects.house import House
from tests.unit.http.made_up import a_dialect, ask

MIB = 1024 * 1024
OF_TEXT = (
    '--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\nx\r\n'
    '--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n{}\r\n--b--\r\n'
)
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
        {"files": {"image": b"x"}, "data": {"prompt": "x" * MAX_FIELD_BYTES, "b": "x" * (MAX_TEXT_BYTES // 4)}},
        {"data": {"prompt": "x" * (MAX_FIELD_BYTES - 9), "b": "x" * (MAX_TEXT_BYTES // 4)}},
        {"files": {"image": b"x"}, "data": {f"{i}{'n' * 3900}": "x" * 3900 for i in range(MAX_FIELDS)}},
        {"content": b"no form", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        {"content": b"no form", "headers": {"Content-Type": "multipart/form-data"}},
    ],
)
async def test_beyond_the_limits_the_dialect_answers(tmp_path: Path, options: dict[str, Any]) -> None:
    answer = await ask(tmp_path, "POST", "/red/form", FORMS, **options)

    assert (answer.status_code, answer.json()) == (400, {"red": "HTTPException"})


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "us-ascii", "latin-1"])
async def test_a_form_may_say_that_it_is_as_forms_are(tmp_path: Path, charset: str) -> None:
    said = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}

    answer = await ask(tmp_path, "POST", "/red/form", FORMS, content=OF_TEXT.format("4").encode(), headers=said)

    assert (answer.status_code, answer.json()) == (200, {"size": 1, "prompt": 1})


# Time that grows with the square of a text; an error that is no UnicodeDecodeError; no codec for texts; none at all.
@pytest.mark.parametrize("charset", ["punycode", "idna", "hex", "utf-7", "nobody-knows"])
async def test_a_codec_of_python_s_is_no_charset_of_a_form(tmp_path: Path, charset: str) -> None:
    said = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    body = OF_TEXT.format("xn--a").encode()

    answer = await ask(tmp_path, "POST", "/red/form", FORMS, content=body, headers=said)

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


async def test_a_form_takes_no_more_memory_than_it_is_counted_as(tmp_path: Path) -> None:
    # Given as much text as is taken, its characters as wide as they get, and as many files as are taken
    wide = "\U0001f600".encode()
    text = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + wide + b"x" * (MAX_FIELD_BYTES - 4)
    file = b'\r\n--b\r\nContent-Disposition: form-data; name="%d"; filename="x"\r\n\r\n' + bytes(FILE_IN_MEMORY_BYTES)
    pieces = [text, *[file % at for at in range(MAX_FILES - 1)]]
    pieces += [b'\r\n--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\nxyz\r\n--b--\r\n']

    async def sent() -> AsyncIterator[bytes]:
        for piece in pieces:
            for start in range(0, len(piece), 65536):
                yield piece[start : start + 65536]

    async with House(tmp_path).client(FORMS) as client:
        await client.post("/red/form", files={"image": b"123"}, data={"prompt": "four"})  # what is made once is made
        tracemalloc.start()
        try:
            answer = await client.post("/red/form", content=sent(), headers=MULTIPART)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert answer.json() == {"size": 3, "prompt": MAX_FIELD_BYTES - 3}
    assert peak < COUNTED_AT_MOST_BYTES


async def test_a_file_beyond_the_dialects_limit_is_refused_while_it_is_read(tmp_path: Path) -> None:
    async with House(tmp_path).client(FORMS) as client:
        answer = await client.post("/red/form", content=a_form(61 * MIB), headers=MULTIPART)

    assert (answer.status_code, answer.json()) == (413, {"red": "BodyTooLarge"})


def files(number: int, content: bytes) -> dict[str, Any]:
    return {"files": [("image", ("x.png", content))] * number, "data": {"prompt": "four"}}


async def test_small_files_are_in_memory_however_many_they_are(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.services = replace(house.services, bodies=BodyBudget(max_open_files=0))

    async with house.client(FORMS) as client:
        answer = await client.post("/red/form", **files(MAX_FILES, b"xx"))

    assert answer.json() == {"size": 2, "prompt": 4}


@pytest.mark.parametrize(
    ("number", "size", "on_disk"),
    [
        (1, FILE_IN_MEMORY_BYTES, 0),
        (1, FILE_IN_MEMORY_BYTES + 1, 1),
        (8, FILE_IN_MEMORY_BYTES, 0),
        (10, FILE_IN_MEMORY_BYTES, 2),
    ],
)
async def test_as_many_files_are_open_as_have_no_room_in_memory(
    tmp_path: Path, number: int, size: int, on_disk: int
) -> None:
    house = House(tmp_path)

    async def answer(own_open_files: int) -> dict[str, Any]:
        bodies = BodyBudget(max_open_files=2 * own_open_files)
        house.services = replace(house.services, bodies=bodies)
        async with house.client(FORMS) as client:
            told = await client.post("/red/form", **files(number, bytes(size)))
        assert bodies.open_files == 0
        return told.json()

    assert await answer(on_disk) == {"size": size, "prompt": 4}
    if on_disk:
        assert await answer(on_disk - 1) == {"red": "TooBusy"}
