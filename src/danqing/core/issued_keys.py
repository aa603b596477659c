"""Keys that an administrator hands out while the server runs, beside those of its settings."""

import asyncio
import hashlib
import secrets
import uuid
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from danqing.core.background import outliving, running
from danqing.core.callers import owner_of
from danqing.core.errors import InvalidRequest, StorageFailure
from danqing.core.sentences import says

MAX_NAME_CHARS = 100
# Until then, what another server process has issued or revoked may be unknown here: 5 s at the latest, is promised.
REFRESH_S = 4.0
LAST_NOTE_S = 2.0  # a server that ends waits no longer for a store to note which keys were used last
_PREFIX = "dq_"


@dataclass(frozen=True, kw_only=True)
class IssuedKey:
    """name: for people. digest: SHA-256 of the key, hex; the key itself is told once and kept nowhere.

    last_used_on: the day, in UTC, on which it last let somebody in; None: never yet.
    """

    id: str
    name: str
    digest: str
    created_at: datetime
    last_used_on: date | None = None


class IssuedKeys(Protocol):
    """Where they are kept. Raises StorageFailure when the medium fails."""

    async def add(self, key: IssuedKey) -> None:
        """Durable on return."""
        ...

    async def all(self) -> Sequence[IssuedKey]:
        """Newest first."""
        ...

    async def note_used(self, key_ids: Collection[str], day: date) -> None:
        """They were used on that day; a later one that is noted stays. Unknown ids are fine."""
        ...

    async def remove(self, key_id: str) -> None:
        """Durable on return; an unknown id is fine."""
        ...


class KeyRing:
    """The issued keys, held in memory so that each request is judged at once. For one event loop."""

    def __init__(self, store: IssuedKeys, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._keys: Mapping[bytes, IssuedKey] = {}  # by digest
        self._owners: frozenset[str] = frozenset()  # their bearers
        self._when_gone: list[Callable[[], None]] = []
        self._used: set[bytes] = set()  # since it was last noted
        self._changing = asyncio.Lock()  # what is looked up, issued and revoked: one after the other

    def holds(self, digest: bytes) -> bool:
        """Whether the key with this SHA-256 was issued and not revoked.

        Looked up by digest, so that how long it takes tells nothing about keys. One that is held counts as used.
        """
        if digest not in self._keys:
            return False
        self._used.add(digest)
        return True

    def holds_owner(self, owner: str) -> bool:
        """Whether a key that makes its bearer this owner was issued and not revoked. It does not count as used."""
        return owner in self._owners

    def when_gone(self, tell: Callable[[], None]) -> None:
        """From now on tell is called whenever keys were revoked, here or elsewhere. It must not raise."""
        self._when_gone.append(tell)

    async def issue(self, name: str) -> tuple[IssuedKey, str]:
        """A new key, and the text that its bearer shows. Raises InvalidRequest or StorageFailure."""
        name = name.strip()
        if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise InvalidRequest(says("key_name", most=MAX_NAME_CHARS), parameter="name")
        text = _PREFIX + secrets.token_urlsafe(32)
        digest = hashlib.sha256(text.encode()).hexdigest()
        key = IssuedKey(id=str(uuid.uuid4()), name=name, digest=digest, created_at=self._clock())
        async with self._changing:
            await self._store.add(key)  # nothing may fail after this: nobody would be told the text
            self._hold((*self._keys.values(), key))
        return key, text

    async def all(self) -> Sequence[IssuedKey]:
        """Newest first. Raises StorageFailure."""
        return await self._store.all()

    async def revoke(self, key_id: str) -> IssuedKey | None:
        """Its bearer is let in no more (see `when_gone`); what he made stays. Returns what it was, None if there was
        none. Raises StorageFailure.
        """
        async with self._changing:
            known = {key.id: key for key in self._keys.values()}
            if key_id not in known:
                with suppress(StorageFailure):  # another server process may have issued it just now
                    known = {key.id: key for key in await self._store.all()}
            await self._store.remove(key_id)
            self._hold(key for key in self._keys.values() if key.id != key_id)
            return known.get(key_id)

    async def refresh(self) -> None:
        """Looks which there are. Raises StorageFailure."""
        async with self._changing:
            self._hold(await self._store.all())

    def _hold(self, keys: Iterable[IssuedKey]) -> None:
        """These, and no others."""
        before = self._keys
        self._keys = {bytes.fromhex(key.digest): key for key in keys}
        self._owners = frozenset(owner_of(key.digest) for key in self._keys.values())
        if before.keys() - self._keys.keys():
            for tell in self._when_gone:
                tell()

    async def note_used(self) -> None:
        """Stores which keys were used since; once a day for each key, so it costs next to nothing. Raises
        StorageFailure.
        """
        used, day = frozenset(self._used), self._clock().date()
        fresh = [key.id for digest, key in self._keys.items() if digest in used and key.last_used_on != day]
        if fresh:
            await self._store.note_used(fresh, day)
        self._used -= used

    @asynccontextmanager
    async def kept_fresh(self, *, every_s: float = REFRESH_S) -> AsyncGenerator[None]:
        """Inside, what other server processes issue and revoke is noticed. Raises StorageFailure."""
        await self.refresh()
        try:
            async with running(self._refresh_for_ever(every_s), name="issued-keys"):
                yield
        finally:
            with suppress(StorageFailure, TimeoutError):
                async with asyncio.timeout(LAST_NOTE_S):
                    await self.note_used()  # what was within the last seconds

    async def _refresh_for_ever(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            # Of a store that fails it is logged where that was raised; the keys that are known stay.
            with outliving("issued_keys_not_refreshed"), suppress(StorageFailure):
                await self.refresh()
                await self.note_used()
