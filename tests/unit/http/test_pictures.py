"""Answers with a stored picture."""

from pathlib import Path

import httpx2
import pytest
from starlette.requests import Request
from starlette.types import ASGIApp

from danqing.blobs.local import LocalArtifactStore
from danqing.core.callers import LOCAL, Caller
from danqing.core.errors import ArtifactNotFound
from danqing.core.types import Artifact, ArtifactKind
from danqing.http.callers import STATE_KEY
from danqing.http.picture_links import PictureLinks
from danqing.http.pictures import PictureResponse, picture_response, viewer_of

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
    response: PictureResponse = await picture_response(artifacts, an_artifact(), filename="task.png")

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


def test_while_keys_are_off_every_address_does() -> None:
    assert viewer_of(a_request("/p/a.png", None), PictureLinks(None), "/p/a.png") is LOCAL
