"""Who a key makes of its bearer, and where it is looked for."""

import base64
import hashlib
import hmac
from collections.abc import Sequence

import pytest
from starlette.datastructures import Headers

from danqing.core.callers import LOCAL, Caller, owner_of
from danqing.core.errors import StorageFailure
from danqing.core.issued_keys import IssuedKey, KeyRing
from danqing.http import keys as module
from danqing.http.keys import Keys, key_in
from tests.fakes.domain import NOW
from tests.fakes.issued_keys import InMemoryIssuedKeys

LISTED = Keys(enabled=True, ordinary=frozenset({"one", "zwei-schlüssel"}), admin="chief")
ANY = Keys(enabled=True, ordinary=None, admin="chief")
OFF = Keys(enabled=False, ordinary=frozenset({"one"}), admin="chief")


def owner(key: str) -> str:
    return "key-" + hashlib.sha256(key.encode()).hexdigest()[:32]


@pytest.mark.parametrize(
    ("keys", "key", "caller"),
    [
        (LISTED, "one", Caller(owner=owner("one"))),
        (LISTED, "zwei-schlüssel", Caller(owner=owner("zwei-schlüssel"))),
        (LISTED, "chief", Caller(owner=owner("chief"), sees_all=True)),
        (LISTED, "on", None),
        (LISTED, "one ", None),
        (LISTED, "", None),
        (ANY, "whatever", Caller(owner=owner("whatever"))),
        (ANY, "chief", Caller(owner=owner("chief"), sees_all=True)),
        (ANY, "", None),
        (OFF, "", LOCAL),
        (OFF, "whatever", Caller(owner=owner("whatever"), sees_all=True, own_history=True)),
        (OFF, "one", Caller(owner=owner("one"), sees_all=True, own_history=True)),
        (OFF, "chief", Caller(owner=owner("chief"), sees_all=True)),
        (Keys(enabled=True), "one", None),
        (Keys(enabled=True, ordinary=frozenset({""}), admin=""), "", None),
    ],
)
def test_who_bears_a_key(keys: Keys, key: str, caller: Caller | None) -> None:
    assert keys.caller(key.encode()) == caller


@pytest.mark.parametrize(
    ("keys", "caller", "still"),
    [
        (LISTED, Caller(owner=owner("one")), True),
        (LISTED, Caller(owner=owner("two")), False),
        (LISTED, Caller(owner=owner("chief"), sees_all=True), True),
        (LISTED, Caller(owner=owner("one"), sees_all=True), False),
        (LISTED, LOCAL, False),
        (ANY, Caller(owner=owner("whatever")), True),
        (ANY, Caller(owner=owner("chief"), sees_all=True), True),
        (ANY, Caller(owner=owner("whatever"), sees_all=True), False),
        (OFF, LOCAL, True),
        (OFF, Caller(owner=owner("whatever"), sees_all=True, own_history=True), True),
    ],
)
def test_who_is_let_in_still(keys: Keys, caller: Caller, still: bool) -> None:
    assert keys.still_let_in(caller) is still


async def test_who_bears_an_issued_key_is_let_in_until_it_is_revoked() -> None:
    ring = KeyRing(InMemoryIssuedKeys(), clock=lambda: NOW)
    (carla, text), (dora, listed) = await ring.issue("Carla"), await ring.issue("Dora")
    keys = Keys(enabled=True, ordinary=frozenset({"one", listed}), issued=ring)
    callers = [keys.caller(key.encode()) for key in (text, listed)]
    assert callers == [Caller(owner=owner(text)), Caller(owner=owner(listed))]

    await ring.revoke(carla.id)
    await ring.revoke(dora.id)

    # Then only who has the same key by the settings, too, is let in
    assert [keys.still_let_in(caller) for caller in callers if caller] == [False, True]
    assert [keys.caller(key.encode()) for key in (text, listed)] == [None, Caller(owner=owner(listed))]


def test_no_key_is_like_an_empty_one() -> None:
    assert LISTED.caller(None) is None
    assert OFF.caller(None) is LOCAL


@pytest.mark.parametrize("key", [b"one", b"chief", b"nobody's"])
def test_every_key_is_compared_whichever_it_is(key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    genuine = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append(right)
        return genuine(left, right)

    monkeypatch.setattr(module.hmac, "compare_digest", compare)
    Keys(enabled=True, ordinary=frozenset({"one", "two", "three"}), admin="chief").caller(key)

    assert len(compared) == 4


def test_keys_do_not_show() -> None:
    assert "one" not in repr(LISTED) and "chief" not in repr(LISTED)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"X-Auth-Key": "k"}, "k"),
        ({"X-Auth-Key": "  k "}, "k"),
        ({"Authorization": "Bearer k"}, "k"),
        ({"Authorization": "bearer   k"}, "k"),
        ({"Authorization": basic("anybody:k")}, "k"),
        ({"Authorization": basic(":k:with:colons")}, "k:with:colons"),
        ({"Authorization": basic("user:schlüssel")}, "schlüssel"),
        ({"X-Auth-Key": "own", "Authorization": "Bearer other"}, "own"),
        ({"X-Auth-Key": "", "Authorization": "Bearer other"}, "other"),
        ({"X-Auth-Key": " \t", "Authorization": "Bearer other"}, "other"),
        ({}, None),
        ({"X-Auth-Key": ""}, None),
        ({"Authorization": "Bearer"}, None),
        ({"Authorization": "Bearer "}, None),
        ({"Authorization": basic("k")}, None),
        ({"Authorization": basic("user:")}, None),
        ({"Authorization": "Basic ***"}, None),
        ({"Authorization": "Basic"}, None),
        ({"Authorization": "Digest k"}, None),
        ({"Authorization": "k"}, None),
        ({"Cookie": "key=k"}, None),
    ],
)
def test_where_a_key_is_found(headers: dict[str, str], key: str | None) -> None:
    assert key_in(Headers(headers)) == (None if key is None else key.encode())


@pytest.mark.parametrize("header", ["X-Auth-Key", "Authorization"])
def test_a_letters_last_byte_is_no_blank(header: str) -> None:
    # à ends in a byte that is a blank in latin-1
    value = "voilà".encode() if header == "X-Auth-Key" else b"Bearer " + "voilà".encode()
    assert key_in(Headers(raw=[(header.lower().encode(), value)])) == "voilà".encode()


@pytest.mark.parametrize(
    ("keys", "anybody"),
    [(LISTED, False), (Keys(enabled=True, admin="chief"), False), (ANY, True), (OFF, True)],
)
def test_whether_they_keep_anybody_out(keys: Keys, anybody: bool) -> None:
    assert keys.let_anybody_in == anybody


async def test_a_key_that_another_process_has_just_issued_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two processes over one store, of which one has issued a key, and revoked another
    store = InMemoryIssuedKeys()
    there, here = (KeyRing(store, clock=lambda: NOW) for _ in range(2))
    issued, revoked = await there.issue("Anne"), await there.issue("Ben")
    await there.revoke(revoked[0].id)
    keys = Keys(enabled=True, issued=here)
    bearer, former = (Caller(owner=owner_of(key.digest)) for key, _ in (issued, revoked))
    # Then the other one, which has not looked yet, lets its bearer in, and not the other's
    assert not keys.still_let_in(bearer)
    assert await keys.still_let_in_anywhere(bearer)
    assert not await keys.still_let_in_anywhere(former)

    # And while the store is away, those whom it knows
    async def away() -> Sequence[IssuedKey]:
        raise StorageFailure

    monkeypatch.setattr(store, "all", away)
    assert await keys.still_let_in_anywhere(bearer)
    assert not await keys.still_let_in_anywhere(former)
