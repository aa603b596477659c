"""What every store of issued keys must do. A test module has the fixture `keys`."""

from datetime import date
from typing import ClassVar

from danqing.core.issued_keys import IssuedKey, IssuedKeys
from tests.fakes.domain import later


def a_key(name: str) -> IssuedKey:
    return IssuedKey(id=f"id of {name}", name=name, digest=name.encode().hex().ljust(64, "0"), created_at=later())


class IssuedKeysContract:
    """The suite."""

    implementation: ClassVar[type]

    def test_is_the_implementation_meant(self, keys: IssuedKeys) -> None:
        assert type(keys) is self.implementation

    async def test_they_are_kept_newest_first_until_they_are_removed(self, keys: IssuedKeys) -> None:
        anne, bob = a_key("Anne"), a_key("鲍勃")
        await keys.add(anne)
        await keys.add(bob)
        assert list(await keys.all()) == [bob, anne]
        await keys.remove(anne.id)
        await keys.remove("nobody's\x00")
        assert list(await keys.all()) == [bob]

    async def test_the_day_of_the_last_use_is_noted_and_never_goes_back(self, keys: IssuedKeys) -> None:
        anne, bob = a_key("Anne"), a_key("Bob")
        await keys.add(anne)
        await keys.add(bob)
        early, late = date(2026, 11, 25), date(2026, 11, 26)
        for day in (early, late, early):
            await keys.note_used([anne.id, "nobody's"], day)
        assert {key.id: key.last_used_on for key in await keys.all()} == {anne.id: late, bob.id: None}
