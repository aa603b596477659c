"""Keys that the administrator hands out and takes back."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from danqing.core.clock import utc_now
from danqing.http.keys import owner_of
from tests.dialects.house import House
from tests.dialects.studio.asking import ADMIN, ANNE, KEYS, all_modes, ask, submitted


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, keys=KEYS, card=all_modes())


async def issued(house: House, name: str) -> dict[str, Any]:
    answer = await ask(house, "POST", "/studio/keys", key=ADMIN, json={"name": name})
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    return key


async def test_an_issued_key_opens_the_server_until_it_is_revoked(house: House) -> None:
    # Given a key for somebody new
    key = await issued(house, "  Carla 卡拉 ")
    assert key["name"] == "Carla 卡拉"
    # Then he is let in with it, as an ordinary caller of his own
    me = (await ask(house, "GET", "/studio/models", key=key["key"])).json()["caller"]
    assert me == {"owner": key["owner"], "sees_all": False, "manages_keys": False}
    (job,) = await submitted(house, key=key["key"])
    assert (await ask(house, "GET", f"/studio/jobs/{job['id']}", key=ANNE)).status_code == 404
    # And the list has it, without what opens the server
    listed = await ask(house, "GET", "/studio/keys", key=ADMIN)
    assert [one["name"] for one in listed.json()["keys"]] == ["Carla 卡拉"]
    assert key["key"] not in listed.text
    # And tells when it was last used, once that is noted
    assert key["last_used_on"] is None
    began = utc_now().date()
    await house.note_used_keys()
    (told,) = (await ask(house, "GET", "/studio/keys", key=ADMIN)).json()["keys"]
    assert told["last_used_on"] in {began.isoformat(), utc_now().date().isoformat()}
    # When it is revoked, it opens nothing any more, and what was made stays
    assert (await ask(house, "DELETE", f"/studio/keys/{key['id']}", key=ADMIN)).status_code == 204
    assert (await ask(house, "GET", "/studio/models", key=key["key"])).status_code == 401
    assert (await ask(house, "GET", f"/studio/jobs/{job['id']}", key=ADMIN)).status_code == 200
    # And the keys of the settings are as they were
    assert (await ask(house, "GET", "/studio/models", key=ANNE)).status_code == 200


async def test_only_the_administrator_manages_keys(house: House) -> None:
    key = await issued(house, "Carla")
    for bearer in (ANNE, key["key"]):
        for method, path in (("GET", "/studio/keys"), ("DELETE", f"/studio/keys/{key['id']}")):
            assert (await ask(house, method, path, key=bearer)).status_code == 403
        assert (await ask(house, "POST", "/studio/keys", key=bearer, json={"name": "x"})).status_code == 403
    assert (await ask(house, "GET", "/studio/keys")).status_code == 401
    assert len((await ask(house, "GET", "/studio/keys", key=ADMIN)).json()["keys"]) == 1


async def test_a_server_without_keys_issues_none(tmp_path: Path) -> None:
    house = House(tmp_path)
    answer = await ask(house, "POST", "/studio/keys", json={"name": "x"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert (await ask(house, "GET", "/studio/models")).json()["caller"]["manages_keys"] is False


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 101])
async def test_a_name_is_for_people_to_read(house: House, name: str) -> None:
    answer = await ask(house, "POST", "/studio/keys", key=ADMIN, json={"name": name})

    assert answer.status_code in (400, 422)


async def test_a_key_that_is_issued_or_revoked_is_a_line_without_it(house: House) -> None:
    with capture_logs() as lines:
        key = await issued(house, "Carla")
        for _ in range(2):  # the second time there is nothing to revoke any more
            assert (await ask(house, "DELETE", f"/studio/keys/{key['id']}", key=ADMIN)).status_code == 204

    told = [line for line in lines if line["event"] in ("key_issued", "key_revoked")]
    about = {"id": key["id"], "name": "Carla", "owner": key["owner"], "log_level": "info"}
    by = owner_of(hashlib.sha256(ADMIN.encode()).hexdigest())
    assert [{name: value for name, value in line.items() if name != "request_id"} for line in told] == [
        {"event": "key_issued", "by": by, **about},
        {"event": "key_revoked", "by": by, **about},
    ]
    assert key["key"] not in str(lines) and ADMIN not in str(lines)
