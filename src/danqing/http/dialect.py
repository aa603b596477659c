"""What a dialect is to the rest of the house: a value that `app.py` mounts. One wire API each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from danqing.core.gallery import Gallery
from danqing.core.issued_keys import KeyRing
from danqing.core.neighbours import Neighbours, NoNeighbours
from danqing.core.picture_ports import ArtifactStore, ImageIntake
from danqing.core.ports import Subscriptions
from danqing.core.removal import Removal
from danqing.core.studio import Studio
from danqing.core.submitting import KEY_LIFETIME
from danqing.core.types import PoolStatus
from danqing.http.body_budget import BodyBudget
from danqing.http.encoding import Encoding
from danqing.http.machine_log import MachineLog
from danqing.http.picture_links import PictureLinks
from danqing.http.standing import Standing


@dataclass(frozen=True, kw_only=True)
class DialectOptions:
    """request_timeout_s: seconds that a request waits for each of its pictures, where it is answered with them.

    submit_key_lifetime: how long an `Idempotency-Key` counts.
    environment: what the operator calls this installation ("dev", "prod").
    public_url: where clients find the server, with a slash at its end, for absolute addresses in answers; None: where
    the request came to (`Request.base_url`).
    log_prompts: whether log lines may have the beginning of a prompt.
    needs_key: whether a request needs a key.
    """

    request_timeout_s: float = 600.0
    submit_key_lifetime: timedelta = KEY_LIFETIME
    environment: str = "dev"
    public_url: str | None = None
    log_prompts: bool = False
    needs_key: bool = False


@dataclass(frozen=True, kw_only=True)
class Services:
    """What routes may use. bodies, encoding, standing: one for all ports of the process."""

    studio: Studio
    gallery: Gallery
    subscriptions: Subscriptions
    artifacts: ArtifactStore
    intake: ImageIntake
    removal: Removal
    key_ring: KeyRing
    standing: Standing
    links: PictureLinks
    machine_log: MachineLog
    options: DialectOptions
    bodies: BodyBudget = field(default_factory=BodyBudget)
    encoding: Encoding = field(default_factory=Encoding)
    neighbours: Neighbours = field(default_factory=NoNeighbours)


@dataclass(frozen=True, kw_only=True)
class HealthPart:
    """A dialect's fields of the object that `GET /health` answers. model: describes them in the OpenAPI document.

    leads: fields that have this dialect's value on the shared port where another dialect says something else. Only for
    a field whose readers are known to take this value, or to matter more than the others'; one dialect leads a field.
    """

    fields: Callable[[PoolStatus, DialectOptions], Mapping[str, object]]
    model: type[BaseModel]
    leads: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One wire API.

    name: as in `--listen name=port`; title: for people.
    prefixes: the paths it answers for, each with everything below it. Where dialects overlap the longest prefix wins,
    and among equals the dialect mounted first. Failures there, unknown routes included, are told in its own shape.
    build_router: makes fresh routes, without `/health`; those that lie below no prefix are never reached.
    render_error: turns any exception that came out of a route, or that kept the request from reaching one (see
    `errors.py`), into an answer; it must not raise.
    error_fields: its fields of the object with which the house answers an exception on paths of no dialect, given the
    exception and the answer's status; it must not raise. None if the vendor's clients look for nothing there.
    health: None if the vendor has no such path.
    open_paths: those, each with everything below it, that take requests without a key while authentication is on:
    probes, and pictures, whose routes ask for a key or a signed address themselves (`PictureLinks`).
    root: what `GET /` answers, as JSON, to a client that does not ask for a page; None: nothing.
    max_body_bytes: request bodies above this are refused while they are read.
    curl_example: shown on the start page, with `{url}` for the server's address; may be empty.
    """

    name: str
    title: str
    prefixes: tuple[str, ...]
    build_router: Callable[[Services], APIRouter]
    render_error: Callable[[Exception], Response]
    error_fields: Callable[[Exception, int], Mapping[str, object]] | None
    health: HealthPart | None
    max_body_bytes: int
    curl_example: str
    open_paths: tuple[str, ...] = ()
    root: Mapping[str, object] | None = None

    @cached_property
    def covers(self) -> Callable[[str], bool]:
        """Whether it answers for a path, unless another one's prefix is longer."""
        own = DialectsByPath((self,))
        return lambda path: own.of(path) is not None


class DialectsByPath:
    """Which of some dialects answers for a path: looked up, not tried one after the other."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._by_prefix: dict[str, Dialect] = {}
        for dialect in dialects:
            for prefix in dialect.prefixes:
                self._by_prefix.setdefault(prefix, dialect)
        self._longest = max(map(len, self._by_prefix), default=0)

    def of(self, path: str) -> Dialect | None:
        """That with the longest prefix that covers it; None if there is none."""
        if (found := self._by_prefix.get(path)) is not None:
            return found
        end = path.rfind("/", 0, self._longest + 1)
        while end >= 0:
            if (found := self._by_prefix.get(path[:end])) is not None:
                return found
            end = path.rfind("/", 0, end)
        return None
