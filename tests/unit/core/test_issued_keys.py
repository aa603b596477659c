"""Issued keys as the server holds them: who is let in, and when a key was last used."""

from collections.abc import Collection
from datetime import date, datetime, timedelta

from danqing.core.issued_keys import KeyRing
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
    await ring.refresh()
    assert store.notes == 0
