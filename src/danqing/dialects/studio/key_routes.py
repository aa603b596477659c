"""The studio's endpoints of keys, for the administrator: which were issued, a new one, one less."""

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from danqing.core.callers import Caller
from danqing.core.errors import Forbidden
from danqing.core.issued_keys import IssuedKey
from danqing.dialects.studio.errors import declared
from danqing.dialects.studio.key_schemas import IssuedKeyView, KeyList, NewKey
from danqing.dialects.studio.translate_out import from_key, from_new_key
from danqing.http.callers import known_caller
from danqing.http.dialect import Services
from danqing.http.keys import owner_of

_log = structlog.get_logger(__name__)

NOT_NEEDED = "This server needs no keys; see SECURITY.md for how it is made to."
NOT_ALLOWED = "Only the administrator's key may do this."


class KeyRoutes:
    """Handlers and where they are mounted. Errors are left to the app."""

    def __init__(self, services: Services) -> None:
        self._ring = services.key_ring
        self._needed = services.options.needs_key

    def add_to(self, router: APIRouter) -> None:
        """The routes, with what each answers."""
        add = router.add_api_route
        add("/studio/keys", self.all, methods=["GET"], response_model=KeyList, summary="The keys that were issued")
        add(
            "/studio/keys",
            self.issue,
            methods=["POST"],
            status_code=201,
            response_model=IssuedKeyView,
            responses=declared(400, 422),
            summary="Issue a key",
        )
        add(
            "/studio/keys/{key_id}",
            self.revoke,
            methods=["DELETE"],
            status_code=204,
            response_class=Response,
            summary="Revoke a key; what its bearer made stays",
        )

    async def all(self, request: Request) -> KeyList:
        """Newest first."""
        self._administrator(request)
        return KeyList(keys=[from_key(key) for key in await self._ring.all()])

    async def issue(self, wanted: NewKey, request: Request) -> IssuedKeyView:
        """The key itself is told here, and never again."""
        caller = self._administrator(request)
        key, text = await self._ring.issue(wanted.name)
        _tell("key_issued", key, caller)
        return from_new_key(key, text)

    async def revoke(self, key_id: str, request: Request) -> Response:
        """Also where there is no such key."""
        caller = self._administrator(request)
        if (key := await self._ring.revoke(key_id)) is not None:
            _tell("key_revoked", key, caller)
        return Response(status_code=204)

    def _administrator(self, request: Request) -> Caller:
        """Who asks. Raises Forbidden for anybody else."""
        if not self._needed:
            raise Forbidden(NOT_NEEDED)
        caller = known_caller(request)
        if not caller.sees_all:
            raise Forbidden(NOT_ALLOWED)
        return caller


def _tell(event: str, key: IssuedKey, by: Caller) -> None:
    """To the log, which never has a key itself."""
    _log.info(event, id=key.id, name=key.name, owner=owner_of(key.digest), by=by.owner)
