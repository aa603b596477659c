"""Who a key makes of its bearer, and where a request carries one."""

import base64
import binascii
import hashlib
import hmac
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from starlette.datastructures import Headers

from danqing.core.callers import LOCAL, Caller, owner_of
from danqing.core.errors import StorageFailure
from danqing.core.issued_keys import KeyRing

_BLANKS = " \t"  # of a header; what else looks blank in latin-1 may be a byte of a letter in UTF-8


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys of this server.

    enabled: whether a request needs one. ordinary: those of callers who see only their own jobs; None: any key that is
    not empty is one. admin: its bearer sees everybody's; None: there is no administrator. issued: ordinary ones that an
    administrator has handed out; None: there are none. While none is needed, who gives one sees everybody's jobs, as
    all do, and his own history.
    """

    enabled: bool
    ordinary: frozenset[str] | None = field(default=frozenset(), repr=False)
    admin: str | None = field(default=None, repr=False)
    issued: KeyRing | None = field(default=None, repr=False)

    def caller(self, key: bytes | None) -> Caller | None:
        """Whoever bears this key; None for nobody. While keys are not needed, everybody is somebody.

        Takes as long whichever key it is, and whether there is such a one.
        """
        if not key:
            return None if self.enabled else LOCAL
        digest = hashlib.sha256(key).digest()
        owner = owner_of(digest.hex())
        is_admin = any([hmac.compare_digest(digest, known) for known in self._admin_digests])  # a list: all compared
        is_ordinary = any([hmac.compare_digest(digest, known) for known in self._ordinary_digests])
        is_issued = self.issued is not None and self.issued.holds(digest)
        if is_admin:
            return Caller(owner=owner, sees_all=True)
        if not self.enabled:
            return Caller(owner=owner, sees_all=True, own_history=True)
        return Caller(owner=owner) if is_ordinary or is_issued or self.ordinary is None else None

    def still_let_in(self, caller: Caller) -> bool:
        """Whether who was let in earlier, here or by another process, would be let in as that caller now."""
        if not self.enabled:
            return True
        if caller.sees_all:
            return caller.owner in self._admins
        is_issued = self.issued is not None and self.issued.holds_owner(caller.owner)
        return is_issued or self.ordinary is None or caller.owner in self._owners

    async def still_let_in_anywhere(self, caller: Caller) -> bool:
        """As `still_let_in`, but looks in the store too for a key that another process may have issued just now."""
        if not self.still_let_in(caller) and self.issued is not None:
            with suppress(StorageFailure):
                await self.issued.refresh()
        return self.still_let_in(caller)

    @property
    def let_anybody_in(self) -> bool:
        """Whether they keep nobody out: none is needed, or any will do."""
        return not self.enabled or self.ordinary is None

    @cached_property
    def _admin_digests(self) -> tuple[bytes, ...]:
        return (_digest(self.admin),) if self.admin else ()

    @cached_property
    def _ordinary_digests(self) -> tuple[bytes, ...]:
        return tuple(_digest(key) for key in self.ordinary or () if key)

    @cached_property
    def _admins(self) -> frozenset[str]:
        return frozenset(owner_of(digest.hex()) for digest in self._admin_digests)

    @cached_property
    def _owners(self) -> frozenset[str]:
        return frozenset(owner_of(digest.hex()) for digest in self._ordinary_digests)


def _digest(key: str) -> bytes:
    """Of equal length for every key, so that a comparison tells nothing about lengths either."""
    return hashlib.sha256(key.encode()).digest()


def key_in(headers: Headers) -> bytes | None:
    """The key in `X-Auth-Key`, else in `Authorization`: Bearer, or the password of Basic. None if there is none."""
    if own := headers.get("x-auth-key", "").strip(_BLANKS):
        return own.encode("latin-1")
    scheme, _, value = headers.get("authorization", "").strip(_BLANKS).partition(" ")
    value = value.strip(_BLANKS)
    if scheme.lower() == "bearer":
        return value.encode("latin-1") or None
    if scheme.lower() == "basic":
        return _password(value)
    return None


def _password(value: str) -> bytes | None:
    try:
        _, _, password = base64.b64decode(value.encode("latin-1"), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return password or None
