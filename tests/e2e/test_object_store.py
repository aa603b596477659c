"""A real server whose pictures are in a real object store."""

import asyncio
import base64
import io
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import requests
from PIL import Image
from starlette.types import Receive, Scope, Send

from danqing.blobs.s3 import S3ArtifactStore
from danqing.blobs.s3_place import S3Patience
from danqing.core.types import Artifact, ArtifactKind
from danqing.http.pictures import picture_response
from danqing.http.server import Stop
from tests.e2e.servers import PNG, a_server, until
from tests.fakes.pictures import pictures_in
from tests.services.s3 import BUCKET, S3Server, s3_server
from tests.unit.http.serving import serving

KEY = "the key of a caller"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


def stored(s3: S3Server, folder: Path) -> S3ArtifactStore:
    """What the server of this folder has stored."""
    return S3ArtifactStore(s3.place(folder, prefix=folder.name, patience=S3Patience(retries=0, request_s=5)))


def a_png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return file.getvalue()


def corner(png: bytes) -> object:
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("RGB").getpixel((0, 0))


def test_every_picture_comes_from_the_object_store_and_goes_there(s3: S3Server, tmp_path: Path) -> None:
    # Given a server with an object store
    with a_server(tmp_path, command=(), **s3.environment(tmp_path.name)) as server:
        server.start_ready()
        pictures = stored(s3, tmp_path)
        # When a picture is made, and one from a picture that was sent
        task = server.submit("a lighthouse")
        done = server.wait_for(task, "completed")
        edited = requests.post(
            f"{server.url}/generate/img2img",
            data={"prompt": "an orange", "mode": "img2img", "width": "64", "height": "64"},
            files={"input_image": ("sent.png", a_png("orange"), "image/png")},
            timeout=60,
        ).json()
        # Then both are there, the first one's address is told to its owner, and the second began with what was sent
        answer = requests.get(f"{server.url}/api/result/{task}", timeout=10)
        assert answer.content.startswith(PNG)
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers["etag"].strip('"')
        assert answer.content == pictures.read(f"{task}.png")
        assert done["image_path"] == f"s3://{BUCKET}/{tmp_path.name}/{task}.png"
        assert corner(base64.b64decode(edited["image_base64"])) == (255, 165, 0)
        assert len(pictures_in(pictures)) == 2
        # And nothing lies on this machine
        assert list((server.data_dir / "staging").iterdir()) == []
        assert not (server.data_dir / "outputs").exists()
        # When the server is killed and another one starts, everything is there still
        server.kill_everything()
        server.start_ready()
        assert server.picture(task) == answer.content
        assert len(pictures_in(pictures)) == 2


def test_who_may_see_a_picture_is_sent_to_it_and_nobody_else(s3: S3Server, tmp_path: Path) -> None:
    # Given a server with keys whose clients fetch pictures from the object store themselves
    settings = s3.environment(tmp_path.name) | {"DANQING_PICTURE_REDIRECTS": "true", "API_KEY": KEY}
    mine = {"Authorization": f"Bearer {KEY}"}
    with a_server(tmp_path, command=(), **settings) as server:
        server.start()
        wanted = {"prompt": "a lighthouse", "width": 64, "height": 64}
        task = ""

        def accepted() -> bool:
            nonlocal task
            told = requests.post(f"{server.url}/api/generate", json=wanted, headers=mine, timeout=10)
            task = told.json()["data"]["task_id"] if told.ok else ""
            return told.ok

        until(accepted, "a job that is accepted")
        path = f"{server.url}/api/result/{task}"

        def answer(headers: dict[str, str]) -> requests.Response:
            return requests.get(path, headers=headers, timeout=10, allow_redirects=False)

        # When its owner asks, then he is sent there, and gets it
        until(lambda: answer(mine).status_code == 307, "a picture")
        sent = answer(mine)
        assert sent.headers["location"].startswith(f"{s3.endpoint}/{BUCKET}/{tmp_path.name}/{task}.png?")
        assert sent.headers["cache-control"] == "private, max-age=300"
        fetched = requests.get(path, headers=mine, timeout=10)
        assert fetched.content == stored(s3, tmp_path).read(f"{task}.png")
        assert fetched.headers["content-type"] == "image/png"
        # And nobody else learns where it is
        for headers in ({}, {"Authorization": "Bearer another"}):
            refused = answer(headers)
            assert refused.status_code in (401, 403, 404)
            assert "location" not in refused.headers
            assert s3.endpoint not in refused.text
        # Nor does anybody who has the address without its signature
        assert requests.get(sent.headers["location"].partition("?")[0], timeout=10).status_code == 403
        # Once the picture is gone, its owner is told so by the server
        stored(s3, tmp_path).remove(f"{task}.png")
        assert answer(mine).status_code == 404


def test_while_the_object_store_is_away_jobs_wait_and_none_is_lost(tmp_path: Path) -> None:
    # Given a server that has made a picture, and whose object store is killed
    with s3_server() as own, a_server(tmp_path, command=(), **own.environment(tmp_path.name)) as server:
        server.start_ready()
        first = server.submit("a lighthouse")
        server.wait_for(first, "completed")
        picture = server.picture(first)
        own.kill()
        # When a job is submitted and the picture is fetched
        second = server.submit("a harbour")
        answer = requests.get(f"{server.url}/api/result/{first}", timeout=60)
        # Then the client is told, without a word of where it lies, and the job does not fail
        assert answer.status_code >= 500
        assert "s3" not in answer.text.lower()
        until(lambda: "picture_not_stored" in server.log, "a picture that waits to be stored")
        assert server.task(second)["status"] == "processing"
        # And when it is back, everything is there
        own.start()
        server.wait_for(second, "completed")
        assert server.picture(first) == picture
        assert server.picture(second).startswith(PNG)


def test_a_server_whose_object_store_cannot_be_used_does_not_start(s3: S3Server, tmp_path: Path) -> None:
    settings = s3.environment(tmp_path.name) | {"DANQING_S3_SECRET_ACCESS_KEY": "open sesame"}
    with a_server(tmp_path, command=(), **settings) as server:
        server.process = server.popen()
        assert server.process.wait(60) == 1
        assert "SignatureDoesNotMatch" in server.log
        assert "sesame" not in server.log


async def test_a_client_never_takes_half_a_picture_for_a_whole_one(tmp_path: Path) -> None:
    # Given a large picture that a client has begun to fetch from a server
    with s3_server() as own:
        pictures = S3ArtifactStore(own.place(tmp_path, patience=S3Patience(retries=1)))
        content = bytes(range(256)) * 400_000
        pictures.write("a.png", content)
        artifact = Artifact(
            kind=ArtifactKind.ORIGINAL, name="a.png", media_type="image/png", width=8, height=8, size_bytes=8
        )

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await (await picture_response(pictures, artifact, filename="a.png"))(scope, receive, send)

        stop = Stop()
        async with serving(app, stop=stop) as (listeners, _), httpx2.AsyncClient(timeout=60) as client:
            assert (await client.get(listeners[0].url)).content == content
            async with client.stream("GET", listeners[0].url) as answer:
                assert answer.headers["content-length"] == str(len(content))
                received = 0
                # When the object store is killed in the middle
                with pytest.raises(httpx2.RemoteProtocolError):
                    async for piece in answer.aiter_raw():
                        if not received:
                            await asyncio.to_thread(own.kill)
                        received += len(piece)
            # Then the client's connection has broken off before the end that it was told
            assert 0 < received < len(content)
            stop.request()
