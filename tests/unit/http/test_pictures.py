"""Answers with a stored picture."""

from pathlib import Path
from typing import cast

import httpx2
import pytest
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from danqing.blobs.local import LocalArtifactStore
from danqing.core.callers import LOCAL, Caller
from danqing.core.errors import ArtifactNotFound, StorageFailure, Unauthorized
from danqing.core.picture_ports import CLIENT_URL_S, ArtifactStore
from danqing.core.types import Artifact, ArtifactKind
from danqing.http.callers import STATE_KEY
from danqing.http.errors import LinkExpired
from danqing.http.exchange import Exchange
from danqing.http.picture_links import PictureLinks
from danqing.http.pictures import PictureResponse, known_viewer, picture_response, read_picture, viewer_of
from danqing.http.server import Stop
from tests.unit.http.serving import DEADLINE_S, serving

CONTENT = bytes(range(256)) * 12_000  # about three of the chunks that are read at a time


def an_artifact(name: str = "a.png") -> Artifact:
    return Artifact(
        kind=ArtifactKind.ORIGINAL, name=name, media_type="image/png", width=8, height=8, size_bytes=len(CONTENT)
    )


@pytest.fixture
def artifacts(tmp_path: Path) -> LocalArtifactStore:
    store = LocalArtifactStore(tmp_path)
    store.write("a.png", CONTENT)
    return store


async def get(app: ASGIApp, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://danqing.test") as client:
        return await client.get("/", headers=headers)


async def test_the_whole_file_with_its_type_and_name(artifacts: LocalArtifactStore) -> None:
    response = await picture_response(artifacts, an_artifact(), filename="task.png")

    answer = await get(response)

    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == 'inline; filename="task.png"'
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert "etag" in answer.headers


async def test_it_is_sent_whole_though_it_is_removed_meanwhile(artifacts: LocalArtifactStore) -> None:
    response = await picture_response(artifacts, an_artifact(), filename="task.png")
    artifacts.remove("a.png")

    assert (await get(response)).content == CONTENT
    with pytest.raises(ArtifactNotFound):
        await picture_response(artifacts, an_artifact(), filename="task.png")


class Counted:
    """A picture of two pieces, and how often somebody has read."""

    size_bytes, version = 5, "v"

    def __init__(self) -> None:
        self.reads = 0
        self._pieces = [b"abc", b"de"]

    async def read(self) -> bytes:
        self.reads += 1
        return self._pieces.pop(0) if self._pieces else b""

    def close(self) -> None:
        pass


async def test_nobody_reads_on_once_all_is_there() -> None:
    sent, gathered = Counted(), Counted()

    answer = await get(PictureResponse(sent, media_type="image/png", filename="a.png"))
    content = await read_picture(cast(ArtifactStore, Always(gathered)), "a.png")

    assert (answer.content, sent.reads) == (b"abcde", 2)
    assert (content, gathered.reads) == (b"abcde", 2)


class Always:
    """Has one picture, under every name."""

    def __init__(self, picture: Counted) -> None:
        self._picture = picture

    async def open(self, name: str) -> Counted:
        return self._picture


async def test_an_empty_file_is_an_empty_answer(artifacts: LocalArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")

    answer = await get(await picture_response(artifacts, an_artifact(), filename="task.png"))

    assert (answer.status_code, answer.content) == (200, b"")


class Late(LocalArtifactStore):
    """Its pictures go when they have just been found."""

    def path(self, name: str) -> Path:
        found = super().path(name)
        found.unlink()
        return found


async def test_one_that_goes_just_then_is_not_there(tmp_path: Path) -> None:
    store = Late(tmp_path)
    store.write("a.png", CONTENT)

    with pytest.raises(ArtifactNotFound):
        await picture_response(store, an_artifact(), filename="task.png")


@pytest.mark.parametrize("asked", ["bytes=0-9", "bytes=5-1", "bytes=0-0,2-3", "nonsense"])
async def test_ranges_are_not_served(artifacts: LocalArtifactStore, asked: str) -> None:
    response = await picture_response(artifacts, an_artifact(), filename="task.png")

    answer = await get(response, Range=asked)

    assert (answer.status_code, len(answer.content)) == (200, len(CONTENT))


@pytest.mark.parametrize("name", ["b.png", "../a.png", "/etc/passwd", ""])
async def test_a_picture_that_is_not_there(artifacts: LocalArtifactStore, name: str) -> None:
    with pytest.raises(ArtifactNotFound):
        await picture_response(artifacts, an_artifact(name), filename="task.png")


LINKS = PictureLinks(b"secret", now=lambda: 1_000_000.0)
ANN = Caller(owner="ann")


def a_request(path: str, caller: Caller | None) -> Request:
    state = {} if caller is None else {STATE_KEY: caller}
    query = path.partition("?")[2].encode()
    return Request({"type": "http", "path": path, "query_string": query, "headers": [], "state": state})


@pytest.mark.parametrize("caller", [None, ANN])
def test_a_signed_address_shows_the_picture_whosever_it_is(caller: Caller | None) -> None:
    assert viewer_of(a_request(LINKS.sign("/p/a.png"), caller), LINKS, "/p/a.png").sees_all


@pytest.mark.parametrize("address", ["/p/a.png", LINKS.sign("/p/b.png")])
def test_without_one_a_caller_sees_what_he_may(address: str) -> None:
    assert viewer_of(a_request(address, ANN), LINKS, "/p/a.png") == ANN
    with pytest.raises(ArtifactNotFound):
        viewer_of(a_request(address, None), LINKS, "/p/a.png")


def test_a_known_viewer_is_told_what_is_missing() -> None:
    links = PictureLinks(b"secret", now=lambda: 1_000_000.0)
    expired = links.sign("/p/a.png", lifetime_s=-3600)
    assert known_viewer(a_request(expired, ANN), links, "/p/a.png") == ANN
    assert known_viewer(a_request(links.sign("/p/a.png"), None), links, "/p/a.png").sees_all
    with pytest.raises(LinkExpired):
        known_viewer(a_request(expired, None), links, "/p/a.png")
    for address in ("/p/a.png", expired.replace("expires=", "expires=1"), links.sign("/p/b.png", lifetime_s=-3600)):
        with pytest.raises(Unauthorized):
            known_viewer(a_request(address, None), links, "/p/a.png")


def test_while_keys_are_off_every_address_does() -> None:
    assert viewer_of(a_request("/p/a.png", None), PictureLinks(None), "/p/a.png") is LOCAL


class Breaking:
    """An open picture whose place fails after its first piece."""

    size_bytes = len(CONTENT)
    version = "1"

    def __init__(self) -> None:
        self.pieces = [CONTENT[:1000]]
        self.closed = False

    async def read(self) -> bytes:
        if not self.pieces:
            raise StorageFailure
        return self.pieces.pop()

    def close(self) -> None:
        self.closed = True


class Elsewhere(LocalArtifactStore):
    """Its clients fetch pictures themselves."""

    async def client_url(self, name: str) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.size(name)
        return f"https://pictures.example/{name}?X-Amz-Expires=600&X-Amz-Credential=a%2Fb&X-Amz-Signature=c"


async def test_half_a_picture_is_never_taken_for_a_whole_one() -> None:
    # Given a picture whose place fails in the middle
    picture = Breaking()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PictureResponse(picture, media_type="image/png", filename="a.png")(scope, receive, send)

    # When a client fetches it over a real connection
    stop = Stop()
    async with serving(app, stop=stop) as (listeners, _), httpx2.AsyncClient(timeout=DEADLINE_S) as client:
        # Then the connection breaks off before all is there that was announced
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(listeners[0].url)
        stop.request()
    assert picture.closed


async def test_nothing_is_read_for_who_only_asks_what_there_is() -> None:
    # Given a picture that cannot be read
    picture = Breaking()
    picture.pieces = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PictureResponse(picture, media_type="image/png", filename="a.png")(scope, receive, send)

    async def answer_error(request: HTTPConnection, error: Exception) -> Response:
        raise AssertionError from error

    # When HEAD asks for it
    transport = httpx2.ASGITransport(app=Exchange(app, answer_error=answer_error))
    async with httpx2.AsyncClient(transport=transport, base_url="http://danqing.test") as client:
        answer = await client.head("/")
    # Then its length is told all the same
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(CONTENT)))
    assert picture.closed


async def test_clients_are_sent_to_where_the_picture_lies(tmp_path: Path) -> None:
    artifacts = Elsewhere(tmp_path)
    artifacts.write("a.png", CONTENT)

    response = await picture_response(artifacts, an_artifact(), filename="task.png")
    answer = await get(response)

    # As it was signed, character for character, and no longer remembered than it works
    assert answer.status_code == 307
    assert answer.headers["location"] == await artifacts.client_url("a.png")
    assert answer.headers["cache-control"] == "private, max-age=300"
    assert CLIENT_URL_S > 300
    with pytest.raises(ArtifactNotFound):
        await picture_response(artifacts, an_artifact("b.png"), filename="task.png")


async def test_the_server_itself_reads_a_picture_whole(artifacts: LocalArtifactStore) -> None:
    assert await read_picture(artifacts, "a.png") == CONTENT
    with pytest.raises(ArtifactNotFound):
        await read_picture(artifacts, "b.png")
