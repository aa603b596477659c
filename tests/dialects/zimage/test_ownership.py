"""Whose tasks, batches and pictures are seen by whom: two keys, the administrator, nobody, authentication off."""

import base64
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from danqing.dialects.zimage.dialect import zimage
from danqing.http.keys import Keys
from tests.dialects.house import House
from tests.dialects.zimage.asking import ADMIN, ANNE, BOB, KEYS, answered, ask, paint, submit_in_batch


@dataclass(frozen=True)
class Made:
    """A finished task of a batch, and the unsigned path of its picture."""

    task_id: str
    batch_id: str
    picture: str


async def made_by(house: House, key: str | None, batch_id: str) -> Made:
    task_id = await submit_in_batch(house, batch_id, 0, 1, key=key)
    await paint(house, task_id)
    result = (await answered(house, "GET", f"/v1/tasks/{task_id}", key=key))["result"]
    return Made(task_id, batch_id, f"/generated-images/{result['relative_path']}")


def everything(made: Made) -> list[tuple[str, str]]:
    """The ways to what was made; deleting last."""
    return [
        ("GET", f"/v1/tasks/{made.task_id}"),
        ("POST", f"/v1/tasks/{made.task_id}/cancel"),
        ("GET", made.picture),
        ("GET", f"/v1/history/{made.batch_id}"),
        ("DELETE", f"/v1/history/{made.batch_id}"),
    ]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, keys=KEYS)


@pytest.fixture
def open_house(tmp_path: Path) -> House:
    return House(tmp_path)


async def batches(house: House, key: str | None) -> list[str]:
    return [one["task_id"] for one in await answered(house, "GET", "/v1/history", key=key)]


@pytest.mark.parametrize("key", [ANNE, ADMIN])
async def test_the_owner_and_the_administrator_may_do_everything(house: House, key: str) -> None:
    made = await made_by(house, ANNE, "b")

    for method, path in everything(made):
        assert (await ask(house, method, path, key=key)).status_code == 200, path


async def test_to_another_key_it_is_as_if_it_were_not(house: House) -> None:
    # Given what Anne made, and paths as they would be of what nobody made
    made = await made_by(house, ANNE, "b")
    nothing = Made("0" * 32, "no-such-batch", made.picture.replace(made.task_id, "0" * 32))

    # Then Bob is told the same of both
    for (method, path), (_, other) in zip(everything(made), everything(nothing), strict=True):
        hidden, absent = await ask(house, method, path, key=BOB), await ask(house, method, other, key=BOB)
        assert (hidden.status_code, hidden.json()) == (404, absent.json()), path
        assert absent.status_code == 404
    assert await batches(house, BOB) == []

    # And nothing has become of it
    assert await batches(house, ANNE) == ["b"]


async def test_everybodys_history(house: House) -> None:
    await made_by(house, ANNE, "of-anne")
    await made_by(house, BOB, "of-bob")

    assert await batches(house, ANNE) == ["of-anne"]
    assert await batches(house, BOB) == ["of-bob"]
    assert await batches(house, ADMIN) == ["of-bob", "of-anne"]


async def test_one_id_of_two_owners_is_two_batches(house: House) -> None:
    # Given both used the same id
    await made_by(house, ANNE, "b")
    bobs = await made_by(house, BOB, "b")

    # When Anne deletes hers
    await answered(house, "DELETE", "/v1/history/b", key=ANNE)

    # Then Bob's is untouched, and holds his image only
    items = (await answered(house, "GET", "/v1/history/b", key=BOB))["items"]
    assert [item["task_id"] for item in items] == [bobs.task_id]
    assert await batches(house, ADMIN) == ["b"]


async def test_the_administrator_tells_one_id_of_two_owners_apart(house: House) -> None:
    # Given both used the same id
    annes, bobs = await made_by(house, ANNE, "b"), await made_by(house, BOB, "b")
    (of_bob, of_anne) = await answered(house, "GET", "/v1/history", key=ADMIN)
    assert of_bob["owner"] != of_anne["owner"]

    # Then an owner that is named leads to that one's batch, and none to the newest, which says whose it is
    async def shown(**query: str) -> tuple[str, list[str]]:
        detail = await answered(house, "GET", "/v1/history/b", key=ADMIN, params=query)
        return detail["batch"]["owner"], [item["task_id"] for item in detail["items"]]

    assert await shown(owner=of_anne["owner"]) == (of_anne["owner"], [annes.task_id])
    assert await shown(owner=of_bob["owner"]) == await shown() == (of_bob["owner"], [bobs.task_id])
    assert (await ask(house, "GET", "/v1/history/b", key=ADMIN, params={"owner": "nobody"})).status_code == 404

    # And nothing is deleted before it is said whose
    unclear = await ask(house, "DELETE", "/v1/history/b", key=ADMIN)
    assert (unclear.status_code, unclear.json()) == (
        409,
        {"detail": "Several owners have a batch of this id; say whose with ?owner=, as /v1/history tells it"},
    )
    await answered(house, "DELETE", "/v1/history/b", key=ADMIN, params={"owner": of_anne["owner"]})
    assert (await batches(house, ANNE), await batches(house, BOB)) == ([], ["b"])
    await answered(house, "DELETE", "/v1/history/b", key=ADMIN)
    assert await batches(house, ADMIN) == []


async def test_who_owns_a_batch_is_for_the_administrator(house: House) -> None:
    # Given the owner of Anne's batch, as the administrator reads it
    await made_by(house, ANNE, "b")
    (summary,) = await answered(house, "GET", "/v1/history", key=ADMIN)
    owner = {"owner": summary["owner"]}

    # Then Anne's own history does not tell it, and the name opens nothing to Bob
    assert "owner" not in (await answered(house, "GET", "/v1/history", key=ANNE))[0]
    assert "owner" not in (await answered(house, "GET", "/v1/history/b", key=ANNE))["batch"]
    for method in ("GET", "DELETE"):
        hidden = await ask(house, method, "/v1/history/b", key=BOB, params=owner)
        assert (hidden.status_code, hidden.json()) == (404, {"detail": "Batch not found"})
    assert await batches(house, ANNE) == ["b"]


async def test_without_authentication_one_id_with_and_without_a_key(open_house: House) -> None:
    # Given the same id without a key, and with one
    await made_by(open_house, None, "b")
    await made_by(open_house, "any key", "b")

    with_key, without = await answered(open_house, "GET", "/v1/history")

    # Then what has no owner's name is to be had as `local`
    assert with_key["owner"].startswith("key-")
    assert "owner" not in without
    assert (await ask(open_house, "DELETE", "/v1/history/b")).status_code == 409
    await answered(open_house, "DELETE", "/v1/history/b", params={"owner": "local"})
    assert await answered(open_house, "GET", "/v1/history") == [with_key]


@pytest.mark.parametrize("key", [None, "", "wrong", ANNE.upper()])
async def test_without_a_good_key_nothing_is_told(house: House, key: str | None) -> None:
    made = await made_by(house, ANNE, "b")

    guarded = [("GET", "/v1/history"), ("POST", "/v1/images/generate"), *everything(made)]
    for method, path in guarded:
        answer = await ask(house, method, path, key=key)
        assert (answer.status_code, answer.json()) == (401, {"detail": "Invalid or missing API key"}), path
        assert "www-authenticate" in answer.headers


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_without_a_good_key_a_picture_that_is_there_is_as_one_that_is_not(house: House, key: str | None) -> None:
    made = await made_by(house, ANNE, "b")
    there = await ask(house, "GET", made.picture, key=key)
    for path in (made.picture.replace(made.task_id, "0" * 32), "/generated-images/x", "/generated-images/"):
        other = await ask(house, "GET", path, key=key)
        assert (other.status_code, other.json()) == (there.status_code, there.json()) == (401, there.json()), path


async def test_a_link_that_has_expired_says_so(house: House) -> None:
    # Given an address that was told two hours ago
    made = await made_by(house, ANNE, "b")
    query = house.services.links.sign(made.picture.removesuffix(".png"), lifetime_s=-2 * 3600).partition("?")[2]
    address = f"{made.picture}?{query}"
    # Then the answer says what has come of it, and where there is a new one
    expired = await ask(house, "GET", address)
    assert expired.status_code == 401
    assert expired.json() == {
        "detail": "The link has expired; ask /v1/tasks or /v1/history for a new image_url, or send your key"
    }
    assert "www-authenticate" in expired.headers
    # And a key opens the picture all the same, while a signature that was never made counts as none
    assert (await ask(house, "GET", address, key=ANNE)).status_code == 200
    forged = await ask(house, "GET", address.replace("expires=", "expires=1"))
    assert (forged.status_code, forged.json()) == (401, {"detail": "Invalid or missing API key"})


async def test_root_and_health_need_no_key(house: House) -> None:
    assert await answered(house, "GET", "/") == {"message": "Z-Image API is running"}
    assert (await answered(house, "GET", "/health"))["status"] == "ok"


async def test_the_address_of_a_preview_is_that_of_its_picture_but_for_the_suffix(house: House) -> None:
    # Given a client that shows the preview, and downloads the picture by putting .png for .webp before the query
    made = await made_by(house, ANNE, "b")
    path, _, query = (await answered(house, "GET", f"/v1/tasks/{made.task_id}", key=ANNE))["image_url"].partition("?")
    assert path.endswith(".webp")

    picture = await ask(house, "GET", f"{path.removesuffix('.webp')}.png?{query}")

    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")


async def test_addresses_in_answers_open_their_picture_without_a_key_and_no_other(house: House) -> None:
    # Given two pictures of Anne's
    first, second = await made_by(house, ANNE, "b1"), await made_by(house, ANNE, "b2")
    (_, summary) = await answered(house, "GET", "/v1/history", key=ANNE)
    (item,) = (await answered(house, "GET", "/v1/history/b1", key=ANNE))["items"]
    status = await answered(house, "GET", f"/v1/tasks/{first.task_id}", key=ANNE)

    # Then each address that is told works in an <img> tag
    for address in (summary["image_url"], item["image_url"], status["image_url"]):
        assert (await ask(house, "GET", address)).headers["content-type"] == "image/webp"

    # But its signature opens nothing else, and is needed whole
    path, query = urlsplit(status["image_url"]).path, urlsplit(status["image_url"]).query
    signature = parse_qs(query)["signature"][0]
    for other in (
        f"{second.picture}?{query}",
        f"{path}.png?{query}",
        f"{path.removesuffix('.webp')}?{query}",
        path,
        f"{path}?{query.replace(signature, signature[::-1])}",
        f"{path}?{query.replace('expires=', 'expires=9')}",
        f"{path}?signature={signature}",
    ):
        assert (await ask(house, "GET", other)).status_code == 401, other


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Auth-Key": ANNE},
        {"Authorization": f"Bearer {ANNE}"},
        {"Authorization": "Basic " + base64.b64encode(f"anybody:{ANNE}".encode()).decode()},
    ],
)
async def test_auth_key_is_the_callers_own_however_it_is_sent(house: House, headers: dict[str, str]) -> None:
    made = await made_by(house, ANNE, "b")

    status = await answered(house, "GET", f"/v1/tasks/{made.task_id}", headers=headers)

    assert status["result"]["auth_key"] == ANNE


async def test_nobody_is_told_anothers_key(house: House) -> None:
    made = await made_by(house, ANNE, "b")

    result = (await answered(house, "GET", f"/v1/tasks/{made.task_id}", key=ADMIN))["result"]

    owner = (await house.store.get((await house.services.gallery.get("b")).jobs[0].id)).owner
    assert result["auth_key"] == owner
    assert ANNE not in owner


async def test_no_key_is_stored(house: House) -> None:
    await made_by(house, ANNE, "b")

    assert ANNE not in repr((await house.services.gallery.get("b")).jobs)


async def test_without_authentication_nobody_needs_a_key(open_house: House) -> None:
    made = await made_by(open_house, None, "b")

    status = await answered(open_house, "GET", f"/v1/tasks/{made.task_id}")
    assert (status["result"]["auth_key"], urlsplit(status["image_url"]).query) == (None, "")
    for method, path in everything(made):
        assert (await ask(open_house, method, path)).status_code == 200, path


async def test_without_authentication_who_gives_no_key_sees_everybodys(open_house: House) -> None:
    # Given one image made without a key, and one with any key
    await made_by(open_house, None, "of-nobody")
    made = await made_by(open_house, "any key", "of-somebody")

    # Then who gives a key is listed only what was made with it, who gives none all, and everybody sees every task
    assert await batches(open_house, None) == ["of-somebody", "of-nobody"]
    assert await batches(open_house, "any key") == ["of-somebody"]
    assert await batches(open_house, "another key") == []
    assert (await ask(open_house, "GET", f"/v1/tasks/{made.task_id}", key="another key")).status_code == 200

    # And the key is told to nobody else
    mine = await answered(open_house, "GET", f"/v1/tasks/{made.task_id}", key="any key")
    others = await answered(open_house, "GET", f"/v1/tasks/{made.task_id}")
    assert mine["result"]["auth_key"] == "any key"
    assert others["result"]["auth_key"].startswith("key-")


async def test_without_a_list_any_key_is_one(tmp_path: Path) -> None:
    # Given authentication without API_ALLOWED_KEYS
    house = House(tmp_path, keys=Keys(enabled=True, ordinary=None, admin=ADMIN))

    made = await made_by(house, "made up", "b")

    assert await batches(house, "made up") == ["b"]
    assert await batches(house, ADMIN) == ["b"]
    assert await batches(house, "also made up") == []
    assert (await ask(house, "GET", f"/v1/tasks/{made.task_id}")).status_code == 401


async def test_on_the_shared_port_it_is_the_same(house: House) -> None:
    made = await made_by(house, ANNE, "b")

    async with house.client(zimage()) as client:
        hidden = await client.get(f"/v1/tasks/{made.task_id}", headers={"X-Auth-Key": BOB})
        keyless = await client.get("/v1/history")
        root = await client.get("/", headers={"Accept": "application/json"})

    assert (hidden.status_code, hidden.json()) == (404, {"detail": "Task not found"})
    assert (keyless.status_code, keyless.json()) == (401, {"detail": "Invalid or missing API key"})
    assert root.json() == {"message": "Z-Image API is running"}
