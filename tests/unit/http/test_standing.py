"""Who is told that he would be let in no more, and who is not."""

import hashlib
from contextlib import ExitStack

import pytest

from danqing.core.callers import LOCAL, Caller, owner_of
from danqing.core.issued_keys import IssuedKey, KeyRing
from danqing.http.keys import Keys
from danqing.http.standing import Standing
from tests.fakes.domain import NOW
from tests.fakes.issued_keys import InMemoryIssuedKeys

ANNE = Caller(owner=owner_of(hashlib.sha256(b"anne").hexdigest()))
CHIEF = Caller(owner=owner_of(hashlib.sha256(b"chief").hexdigest()), sees_all=True)


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing(InMemoryIssuedKeys(), clock=lambda: NOW)


@pytest.fixture
def standing(ring: KeyRing) -> Standing:
    return Standing(Keys(enabled=True, ordinary=frozenset({"anne"}), admin="chief", issued=ring))


def bearer(key: IssuedKey) -> Caller:
    return Caller(owner=owner_of(key.digest))


async def test_all_connections_of_who_bore_a_revoked_key_are_told_once_and_no_others(
    ring: KeyRing, standing: Standing
) -> None:
    (carla, _), (dora, _) = await ring.issue("Carla"), await ring.issue("Dora")
    told: list[str] = []
    watched = {"carla": bearer(carla), "carla too": bearer(carla), "dora": bearer(dora), "anne": ANNE, "chief": CHIEF}
    with ExitStack() as stack:
        for name, caller in watched.items():
            stack.enter_context(standing.watched(caller, lambda name=name: told.append(name)))
        await ring.revoke(carla.id)
        assert sorted(told) == ["carla", "carla too"]
        await ring.revoke(dora.id)
        assert told[2:] == ["dora"]


async def test_who_has_left_is_not_told_and_not_kept(ring: KeyRing, standing: Standing) -> None:
    key, _ = await ring.issue("Carla")
    told: list[str] = []
    with standing.watched(bearer(key), lambda: told.append("stays")):
        with standing.watched(bearer(key), lambda: told.append("left")):
            pass
        await ring.revoke(key.id)
    assert told == ["stays"]
    assert standing._watched == {}


async def test_one_may_leave_while_others_are_told(ring: KeyRing, standing: Standing) -> None:
    key, _ = await ring.issue("Carla")
    told: list[int] = []
    with ExitStack() as inner, ExitStack() as outer:

        def lost(number: int) -> None:
            told.append(number)
            inner.close()

        for number, stack in enumerate((inner, outer)):
            stack.enter_context(standing.watched(bearer(key), lambda number=number: lost(number)))
        await ring.revoke(key.id)
    assert told == [1]


def test_who_is_let_in_no_more_when_he_comes_is_told_at_once(standing: Standing) -> None:
    told: list[str] = []
    with standing.watched(LOCAL, lambda: told.append("local")):
        assert told == ["local"]
    assert told == ["local"]


async def test_where_no_key_is_needed_nobody_is_told(ring: KeyRing) -> None:
    standing, told = Standing(Keys(enabled=False, issued=ring)), list[str]()
    key, _ = await ring.issue("Carla")
    with standing.watched(bearer(key), lambda: told.append("carla")), standing.watched(LOCAL, lambda: told.append("")):
        await ring.revoke(key.id)
    assert told == []
