"""S3ArtifactStore over a real server: the contract, and what only a server on a network can show."""

import asyncio
import logging
import pickle
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import structlog

from danqing.blobs.s3 import PROBE, S3ArtifactStore
from danqing.blobs.s3_place import S3Patience, S3Place, parse_address
from danqing.core.errors import ArtifactNotFound, StorageAway, StorageFailure
from danqing.core.picture_ports import ArtifactStore
from tests.contracts.artifact_store import TWO_HOURS_S, ArtifactStoreContract
from tests.fakes.pictures import pictures_in
from tests.services.s3 import BUCKET, READER_KEY, READER_SECRET, SECRET, S3Server, s3_server

TLS = Path(__file__).parent / "tls"  # an authority for tests, and a certificate of 127.0.0.1
HASTY = S3Patience(connect_s=1, request_s=1, retries=1, retry_s=2)
FEW_TRIES = S3Patience(retries=1)


@pytest.fixture
def place(s3: S3Server, tmp_path: Path) -> S3Place:
    return s3.place(tmp_path / "staging")


@pytest.fixture
def store(place: S3Place) -> S3ArtifactStore:
    return S3ArtifactStore(place)


class LaterStore(S3ArtifactStore):
    """The store's clock is two hours ahead."""

    def _ahead_s(self) -> float:
        return super()._ahead_s() + TWO_HOURS_S


class TestS3ArtifactStore(ArtifactStoreContract):
    implementation = S3ArtifactStore

    def later(self, store: ArtifactStore) -> ArtifactStore:
        assert isinstance(store, S3ArtifactStore)
        return LaterStore(store.__reduce__()[1][0])


@pytest.fixture(scope="module")
def fragile_s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def own_s3(fragile_s3: S3Server) -> S3Server:
    """A server that a test may kill."""
    if not fragile_s3.runs:
        fragile_s3.start()
    return fragile_s3


def test_the_probe_leaves_nothing(place: S3Place, store: S3ArtifactStore) -> None:
    store.probe()
    assert list(S3ArtifactStore(replace(place, prefix=""))._listed(PROBE)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"bucket": "there-is-none"},
        {"secret_access_key": "wrong"},
        {"access_key_id": "nobody"},
        {"access_key_id": READER_KEY, "secret_access_key": READER_SECRET},
        {"endpoint": "http://127.0.0.1:1", "patience": HASTY},
    ],
    ids=["no bucket", "wrong secret", "unknown key", "may not write", "nobody there"],
)
def test_a_place_that_cannot_be_used_is_told_soon(place: S3Place, changes: dict[str, str]) -> None:
    store = S3ArtifactStore(replace(place, **changes))
    with pytest.raises(StorageFailure):
        store.probe()
    with pytest.raises(StorageFailure):
        store.write("a.png", b"picture")


def test_without_its_bucket_no_picture_counts_as_missing(place: S3Place) -> None:
    # Given a bucket that is not there: a server that took that for no pictures would note every one as gone
    store = S3ArtifactStore(replace(place, bucket="there-is-none"))
    with pytest.raises(StorageFailure):
        store.read("a.png")
    for listing in (
        lambda: pictures_in(store),
        store.old_inputs,
        lambda: store.sweep({str(uuid.uuid4()): frozenset()}),
    ):
        with pytest.raises(StorageFailure):
            listing()


def test_the_reason_is_told_without_a_secret(place: S3Place, caplog: pytest.LogCaptureFixture) -> None:
    store = S3ArtifactStore(replace(place, secret_access_key="a wrong secret"))
    with (
        structlog.testing.capture_logs() as lines,
        caplog.at_level(logging.DEBUG),
        pytest.raises(StorageFailure) as told,
    ):
        store.write("a.png", b"picture")
    assert lines == [
        {"event": "artifact_write_failed", "log_level": "error", "name": "a.png", "reason": "SignatureDoesNotMatch"}
    ]
    shown = f"{lines} {caplog.text} {told.value} {place!r}"
    assert "secret" not in shown.replace("secret_access_key", "")
    assert place.endpoint is not None
    assert "X-Amz" not in shown and SECRET not in shown


def test_more_pictures_than_a_page_are_listed_and_swept(store: S3ArtifactStore) -> None:
    # Given more pictures of one job's failed tries than the server lists at a time, and an input picture behind them
    jobs = [str(uuid.uuid4()) for _ in range(1100)]
    for job in jobs:
        store.write(f"{job}.png", b"picture")
    store.write(f"input-{'a' * 64}.png", b"picture")
    assert len(pictures_in(store)) == 1100
    # When they are swept, then all of them go
    assert store.sweep(dict.fromkeys(jobs, frozenset[str]())) == 1100
    assert pictures_in(store) == {}
    assert store.size(f"input-{'a' * 64}.png") == 7


def test_what_is_not_ours_stays(place: S3Place, store: S3ArtifactStore) -> None:
    # Given a bucket that others use too: objects beside and below our prefix, and names near to ours
    job = str(uuid.uuid4())
    beside, below = (
        S3ArtifactStore(replace(place, prefix=prefix)) for prefix in (f"{place.prefix}x", f"{place.prefix}/below")
    )
    for each in (beside, below, store):
        each.write(f"{job}.png", b"picture")
    for name in ("holiday.png", f"{job}.jpg", f"my-{job}.png"):
        store.write(name, b"picture")
    # When ours is swept
    assert store.sweep({job: frozenset()}) == 1
    # Then nothing else is gone
    for each in (beside, below):
        assert each.read(f"{job}.png") == b"picture"
    for name in ("holiday.png", f"{job}.jpg", f"my-{job}.png"):
        assert store.read(name) == b"picture"


def test_large_pictures_are_put_in_parts_and_whole(store: S3ArtifactStore) -> None:
    content = bytes(range(256)) * 100_000
    store.write("a.png", content)
    assert store.read("a.png") == content


async def test_an_object_says_what_it_is(place: S3Place) -> None:
    # Given a store whose clients fetch pictures themselves
    store = S3ArtifactStore(replace(place, redirects=True))
    store.write("a.webp", b"picture")
    # When one of them does
    url = await store.client_url("a.webp")
    assert url is not None
    answer = httpx2.get(url)
    # Then it gets what the server would have sent
    assert (answer.status_code, answer.content) == (200, b"picture")
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["content-disposition"] == 'inline; filename="a.webp"'
    assert answer.headers["cache-control"] == "private, max-age=86400, immutable"


async def test_a_signed_address_opens_one_picture_for_a_while(place: S3Place) -> None:
    store = S3ArtifactStore(replace(place, redirects=True))
    for name in ("a.png", "b.png"):
        store.write(name, b"picture")
    url = await store.client_url("a.png")
    assert url is not None
    assert "X-Amz-Expires=600" in url
    # Neither another picture, nor another method, nor an address without its signature
    assert httpx2.get(url.replace("a.png", "b.png")).status_code == 403
    assert httpx2.delete(url).status_code == 403
    assert httpx2.get(url.partition("?")[0]).status_code == 403
    assert SECRET not in url
    with pytest.raises(ArtifactNotFound):
        await store.client_url("c.png")
    with pytest.raises(ArtifactNotFound):
        await store.client_url("../c.png")


async def test_clients_are_sent_to_the_address_that_they_can_reach(place: S3Place) -> None:
    store = S3ArtifactStore(replace(place, redirects=True, public_endpoint="https://pictures.example"))
    store.write("a.png", b"picture")
    url = await store.client_url("a.png")
    assert url is not None
    assert url.startswith(f"https://pictures.example/{BUCKET}/{place.prefix}/a.png?")
    assert await S3ArtifactStore(place).client_url("a.png") is None


def test_a_server_that_says_nothing_counts_as_failed(place: S3Place, tmp_path: Path) -> None:
    # Given a port that takes connections, and answers none
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = S3ArtifactStore(replace(place, endpoint=endpoint, patience=HASTY))
        began = time.monotonic()
        for call in (lambda: store.write("a.png", b"picture"), lambda: store.read("a.png"), lambda: pictures_in(store)):
            with pytest.raises(StorageAway):
                call()
    # Then it is told within its patience, and not only when that of the test is over
    assert time.monotonic() - began < 60


def test_a_server_that_is_killed_is_told_and_works_again(own_s3: S3Server, tmp_path: Path) -> None:
    # Given pictures in a store whose server is killed
    store = S3ArtifactStore(own_s3.place(tmp_path / "staging", patience=FEW_TRIES))
    store.write("a.png", b"picture")
    staged = store.staging() / "upload"
    staged.write_bytes(b"picture")
    own_s3.kill()
    # Then nothing is taken for stored, and nothing for gone
    for call in (
        lambda: store.write("b.png", b"picture"),
        lambda: store.adopt(staged, "b.png"),
        lambda: store.read("a.png"),
        lambda: store.remove("a.png"),
        lambda: pictures_in(store),
    ):
        with pytest.raises(StorageAway):
            call()
    assert staged.read_bytes() == b"picture"
    # And when it is back, so is everything
    own_s3.start()
    assert store.read("a.png") == b"picture"
    store.adopt(staged, "b.png")
    assert store.read("b.png") == b"picture"


def test_a_server_killed_in_the_middle_of_writes_leaves_whole_pictures(own_s3: S3Server, tmp_path: Path) -> None:
    # Given pictures that are written one after the other, each of one byte again and again
    store = S3ArtifactStore(own_s3.place(tmp_path / "staging", patience=FEW_TRIES))
    stored: list[str] = []

    def write() -> None:
        for number in range(1000):
            try:
                store.write(f"p{number}.png", bytes([number % 256]) * 3_000_000)
            except StorageFailure:
                return
            stored.append(f"p{number}.png")

    # When the server is killed among them
    writer = threading.Thread(target=write)
    writer.start()
    while len(stored) < 5:
        time.sleep(0.001)
    own_s3.kill()
    writer.join()
    own_s3.start()
    # Then what was said to be stored is there, and what is there is whole
    for name in stored:
        assert store.read(name) == bytes([int(name[1:-4]) % 256]) * 3_000_000
    last = f"p{len(stored)}.png"
    with suppress(ArtifactNotFound):
        assert store.read(last) == bytes([len(stored) % 256]) * 3_000_000


class Relay:
    """A port in front of the server that lets so many bytes of an answer through and then breaks it off."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        """context: speaks TLS to its clients."""
        self._port = port
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.breaks: list[int] = []  # after how many bytes, of each answer of its own; then none is broken
        self.asked: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        """One request a connection, of up to a few KiB."""
        if self._context is not None:
            try:
                client = self._context.wrap_socket(client, server_side=True)
            except OSError:  # it does not trust us
                client.close()
                return
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += client.recv(65536)
            if length := re.search(rb"(?i)\r\ncontent-length: (\d+)", asked):
                while len(asked.partition(b"\r\n\r\n")[2]) < int(length[1]):
                    asked += client.recv(65536)
            self.asked.append(asked)
            server.sendall(asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            left = self.breaks.pop(0) if self.breaks else None
            while piece := server.recv(65536):
                if left is not None:
                    piece, left = piece[:left], left - len(piece)
                try:
                    client.sendall(piece)
                except OSError:  # it wants no more
                    return
                if left is not None and left <= 0:
                    return


@pytest.fixture
def secure_endpoint(s3: S3Server) -> Iterator[str]:
    """The server behind TLS, with a certificate of our own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    relay = Relay(s3.port, context)
    yield relay.endpoint.replace("http:", "https:")
    relay.close()


def test_a_certificate_is_looked_at(place: S3Place, secure_endpoint: str) -> None:
    # Given a server whose certificate no authority of the system has signed
    secure = replace(place, endpoint=secure_endpoint)
    # Then it is refused, and told why
    reason = S3ArtifactStore(replace(secure, patience=HASTY)).refusal()
    assert reason == "its certificate is not trusted (UnknownIssuer)"
    # And with the authority that did it works
    trusting = S3ArtifactStore(replace(secure, authorities=(TLS / "authority.pem").read_bytes()))
    trusting.write("a.png", b"picture")
    assert S3ArtifactStore(place).read("a.png") == trusting.read("a.png") == b"picture"


@pytest.fixture
def relay(s3: S3Server) -> Iterator[Relay]:
    relay = Relay(s3.port)
    yield relay
    relay.close()


CONTENT = b"".join(number.to_bytes(4, "big") for number in range(1_500_000))  # six pieces


async def read_all(store: ArtifactStore, name: str) -> bytes:
    picture = await store.open(name)
    content = b""
    while piece := await picture.read():
        content += piece
    picture.close()
    return content


async def test_a_connection_that_breaks_in_a_picture_is_made_again(
    place: S3Place, store: S3ArtifactStore, relay: Relay
) -> None:
    # Given a way to the server that breaks off three times within a picture
    store.write("a.png", CONTENT)
    relay.breaks = [2_000_000, 500_000, 1_500_000]
    behind = S3ArtifactStore(replace(place, endpoint=relay.endpoint))
    # When it is read, then it is whole, and nothing was fetched from its beginning again
    assert await read_all(behind, "a.png") == CONTENT
    begins = [re.search(rb"(?i)\r\nrange: bytes=(\d+)-", asked) for asked in relay.asked]
    assert begins[0] is None
    assert all(begin is not None and int(begin[1]) > 1_000_000 for begin in begins[1:])


async def test_a_picture_that_changed_since_it_broke_off_is_not_put_together(
    place: S3Place, store: S3ArtifactStore, relay: Relay
) -> None:
    # Given a picture whose first piece is read when the way breaks off, and that is another one by now
    store.write("a.png", CONTENT)
    relay.breaks = [1_200_000]
    picture = await S3ArtifactStore(replace(place, endpoint=relay.endpoint)).open("a.png")
    assert await picture.read()
    store.write("a.png", CONTENT[::-1])
    # Then it breaks off
    with pytest.raises(StorageFailure):
        while await picture.read():
            pass
    picture.close()


async def test_a_server_that_is_killed_in_a_picture_breaks_it_off(own_s3: S3Server, tmp_path: Path) -> None:
    # Given a large picture of which the first piece is read
    store = S3ArtifactStore(own_s3.place(tmp_path / "staging", patience=FEW_TRIES))
    store.write("a.png", CONTENT * 10)
    picture = await store.open("a.png")
    assert await picture.read()
    # When the server is killed
    await asyncio.to_thread(own_s3.kill)
    # Then reading fails: it does not end as if that were all
    with pytest.raises(StorageFailure):
        while await picture.read():
            pass
    picture.close()


async def test_a_reader_who_takes_longer_than_a_request_may_gets_it_all(place: S3Place, store: S3ArtifactStore) -> None:
    # Given a large picture, and a store that gives a request four seconds
    store.write("a.png", CONTENT * 10)
    picture = await S3ArtifactStore(replace(place, patience=S3Patience(request_s=4))).open("a.png")
    content = [await picture.read()]
    # When its reader rests for longer
    await asyncio.sleep(4.5)
    # Then it goes on
    while piece := await picture.read():
        content.append(piece)
    assert b"".join(content) == CONTENT * 10
    picture.close()


async def test_many_slow_pictures_leave_the_threads_to_others(place: S3Place) -> None:
    # Given a server that says nothing, and more requests for pictures than this process has threads
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        slow = S3ArtifactStore(replace(place, endpoint=endpoint, patience=replace(HASTY, request_s=30)))
        waiting = [asyncio.ensure_future(slow.open("a.png")) for _ in range(100)]
        await asyncio.sleep(0)
        # Then work in threads goes on
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(lambda: "done") == "done"
        assert not any(each.done() for each in waiting)
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def test_it_goes_to_another_process_without_its_connections(store: S3ArtifactStore) -> None:
    copy = pickle.loads(pickle.dumps(store))
    copy.write("a.png", b"picture")
    assert store.read("a.png") == b"picture"
    assert store.location("a.png").startswith(f"s3://{BUCKET}/")


@pytest.mark.parametrize(
    ("text", "bucket", "prefix"),
    [
        ("s3://pictures", "pictures", ""),
        (" s3://pictures/ ", "pictures", ""),
        ("s3://my.pictures-1/danqing", "my.pictures-1", "danqing"),
        ("s3://pictures/a/b/", "pictures", "a/b"),
    ],
)
def test_addresses(text: str, bucket: str, prefix: str) -> None:
    assert parse_address(text) == (bucket, prefix)


@pytest.mark.parametrize(
    "text",
    ["", "pictures", "https://pictures/a", "s3://", "s3:///a", "s3://Pictures", "s3://p", "s3://pictures/a b",
     "s3://pictures/../x", "s3://pictures/a//b", "s3://key:secret@pictures/a", "s3://pictures/a?x=1"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="s3://bucket/prefix"):
        parse_address(text)
