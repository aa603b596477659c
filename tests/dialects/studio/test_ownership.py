"""Whose jobs and pictures are seen by whom."""

from pathlib import Path

import pytest

from tests.dialects.house import House
from tests.dialects.studio.asking import ADMIN, ANNE, BOB, KEYS, a_file, all_modes, ask, paint, submitted


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, keys=KEYS, card=all_modes())


async def test_what_is_anothers_is_answered_like_what_is_not_there(house: House) -> None:
    (job,) = await submitted(house, key=ANNE, mode="img2img", files=[a_file("input_image")])
    await paint(house, job["id"])
    told = (await ask(house, "GET", f"/studio/jobs/{job['id']}", key=ANNE)).json()
    ways = [
        ("GET", f"/studio/jobs/{job['id']}"),
        ("POST", f"/studio/jobs/{job['id']}/cancel"),
        ("DELETE", f"/studio/jobs/{job['id']}"),
        ("GET", f"/studio/pictures/{job['id']}/original"),
        ("GET", f"/studio/pictures/{job['id']}/input-1"),
    ]
    for method, path in ways:
        assert (await ask(house, method, path, key=BOB)).status_code == 404, path
    assert (await ask(house, "GET", "/studio/batches", key=BOB)).json()["batches"] == []
    gone = await ask(house, "GET", f"/studio/events?job={job['id']}", key=BOB)
    assert "event: gone" in gone.text
    for key in (ANNE, ADMIN):
        assert len((await ask(house, "GET", "/studio/batches", key=key)).json()["batches"]) == 1
    # And an address that was told needs no key, while the bare one does
    assert (await ask(house, "GET", told["pictures"]["original"]["url"])).status_code == 200
    assert (await ask(house, "GET", f"/studio/pictures/{job['id']}/original")).status_code == 404


@pytest.mark.parametrize("path", ["/studio/models", "/studio/machine", "/studio/batches", "/studio/events?job=x"])
async def test_nobody_is_answered_without_a_key(house: House, path: str) -> None:
    answer = await ask(house, "GET", path)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


async def test_the_caller_is_told_who_he_is(house: House) -> None:
    callers = [(await ask(house, "GET", "/studio/models", key=key)).json()["caller"] for key in (ANNE, ADMIN)]

    assert [caller["sees_all"] for caller in callers] == [False, True]
