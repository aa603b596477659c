"""Issued keys as the server holds them: who is let in, and when a key was last used."""

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta

import pytest

from danqing.core import issued_keys
from danqing.core.callers import owner_of
from danqing.core.errors import StorageFailure
from danqing.core.issued_keys import IssuedKey, KeyRing
from tests.fakes.domain import NOW
from tests.fakes.issued_keys import InMemoryIssuedKeys


class CountingKeys(InMemoryIssuedKeys):
    """notes: how often something was written of uses."""

    notes = 0

    async def note_used(self, key_ids: Collection[str], day: date) -> None:
        self.notes += 1
        await super().note_used(key_ids, day)


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


async def test_a_use_is_noted_once_a_day_however_often_the_key_is_used() -> None:
    # Given two keys, of which one is used
    store, clock = CountingKeys(), Clock()
    ring = KeyRing(store, clock=clock)
    anne, _ = await ring.issue("Anne")
    await ring.issue("Bob")

    async def used() -> dict[str, date | None]:
        await ring.refresh()
        await ring.note_used()
        return {key.name: key.last_used_on for key in await ring.all()}

    assert await used() == {"Anne": None, "Bob": None}
    for _ in range(3):
        assert ring.holds(bytes.fromhex(anne.digest))
        assert await used() == {"Anne": NOW.date(), "Bob": None}
    assert store.notes == 1
    # When it is used on another day
    clock.now += timedelta(days=2)
    assert await used() == {"Anne": NOW.date(), "Bob": None}
    assert ring.holds(bytes.fromhex(anne.digest))
    # Then that day is noted
    assert await used() == {"Anne": clock.now.date(), "Bob": None}
    assert store.notes == 2


async def test_what_was_used_last_is_noted_when_the_server_ends() -> None:
    store = CountingKeys()
    ring = KeyRing(store, clock=Clock())
    key, _ = await ring.issue("Anne")
    async with ring.kept_fresh(every_s=3600):
        assert ring.holds(bytes.fromhex(key.digest))
    assert [key.last_used_on for key in await store.all()] == [NOW.date()]


async def test_a_key_that_nobody_has_is_not_held_and_noted_nowhere() -> None:
    store = CountingKeys()
    ring = KeyRing(store, clock=Clock())
    assert not ring.holds(b"x" * 32)
    await ring.note_used()
    assert store.notes == 0


class FailingKeys(InMemoryIssuedKeys):
    """failing: uses cannot be noted, and nobody is told which keys there are; one can be added and removed."""

    failing = False

    async def note_used(self, key_ids: Collection[str], day: date) -> None:
        if self.failing:
            raise StorageFailure
        await super().note_used(key_ids, day)

    async def all(self) -> Sequence[IssuedKey]:
        if self.failing:
            raise StorageFailure
        return await super().all()


async def test_a_key_that_is_stored_is_told_and_one_that_is_removed_lets_nobody_in_whatever_else_fails() -> None:
    # Given a key whose use cannot be noted
    store = FailingKeys()
    ring = KeyRing(store, clock=Clock())
    anne, _ = await ring.issue("Anne")
    assert ring.holds(bytes.fromhex(anne.digest))
    store.failing = True
    # When another one is issued, then it is told, and lets its bearer in
    bob, text = await ring.issue("Bob")
    assert hashlib.sha256(text.encode()).hexdigest() == bob.digest
    assert ring.holds(bytes.fromhex(bob.digest))
    # And the first one can be revoked
    await ring.revoke(anne.id)
    assert not ring.holds(bytes.fromhex(anne.digest))
    # And what was used is noted once that can be done
    store.failing = False
    await ring.refresh()
    await ring.note_used()
    assert [(key.name, key.last_used_on) for key in await ring.all()] == [("Bob", NOW.date())]


async def test_what_was_revoked_is_told_whoever_issued_it() -> None:
    # Given a key that another server process issued just now
    store = FailingKeys()
    here, there = KeyRing(store, clock=Clock()), KeyRing(store, clock=Clock())
    key, _ = await there.issue("Anne")
    # When it is revoked here
    assert await here.revoke(key.id) == key
    # Then there is none any more
    assert await here.revoke(key.id) is None
    # And where nobody can be asked, what is unknown can be revoked all the same
    store.failing = True
    assert await here.revoke(key.id) is None


class HangingKeys(InMemoryIssuedKeys):
    """Notes nothing, ever."""

    async def note_used(self, key_ids: Collection[str], day: date) -> None:
        await asyncio.Event().wait()


async def test_a_server_ends_also_where_the_store_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issued_keys, "LAST_NOTE_S", 0.01)
    ring = KeyRing(HangingKeys(), clock=Clock())
    key, _ = await ring.issue("Anne")
    async with asyncio.timeout(60):
        async with ring.kept_fresh(every_s=3600):
            assert ring.holds(bytes.fromhex(key.digest))


async def test_whoever_wants_to_know_is_told_when_keys_have_gone_here_or_elsewhere() -> None:
    # Given two processes over one store
    store = InMemoryIssuedKeys()
    here, elsewhere = KeyRing(store, clock=Clock()), KeyRing(store, clock=Clock())
    (anne, _), (bob, _), (carla, _) = [await here.issue(name) for name in ("Anne", "Bob", "Carla")]
    await elsewhere.refresh()
    told: list[list[bool]] = []

    def note() -> None:
        told.append([here.holds_owner(owner_of(key.digest)) for key in (anne, bob, carla)])

    here.when_gone(note)
    # When keys come, or stay, then nobody is told
    await here.issue("Dora")
    await here.refresh()
    assert told == []
    # When one is revoked here, and one elsewhere
    await here.revoke(anne.id)
    assert told == [[False, True, True]]
    await elsewhere.revoke(bob.id)
    assert len(told) == 1
    await here.refresh()
    # Then that is told at once, or as soon as it is known
    assert told[1:] == [[False, False, True]]
    # And one that nobody has is none
    await here.revoke("nobody's")
    assert len(told) == 2


async def test_what_is_revoked_elsewhere_is_known_within_five_seconds() -> None:
    assert issued_keys.REFRESH_S < 5
    store = InMemoryIssuedKeys()
    here, elsewhere = KeyRing(store, clock=Clock()), KeyRing(store, clock=Clock())
    key, _ = await here.issue("Anne")
    gone = asyncio.Event()
    here.when_gone(gone.set)
    async with asyncio.timeout(60), here.kept_fresh(every_s=0.01):
        await elsewhere.revoke(key.id)
        await gone.wait()
    assert not here.holds_owner(owner_of(key.digest))


async def test_asking_for_an_owner_is_no_use_of_his_key() -> None:
    store = CountingKeys()
    ring = KeyRing(store, clock=Clock())
    key, _ = await ring.issue("Anne")
    assert ring.holds_owner(owner_of(key.digest))
    await ring.note_used()
    assert store.notes == 0
