"""Few pictures are encoded at once, owners take turns, and neither the other lane nor anything else waits for them."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from danqing.core.errors import ArtifactNotFound, TooBusy
from danqing.http.encoding import Encoding, EncodingLane

DEADLINE_S = 30


class Work:
    """Encodes only when it is let; notes what was read and what is being encoded."""

    def __init__(self, lane: EncodingLane) -> None:
        self.lane = lane
        self.let = threading.Event()
        self.read = list[str]()
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    def ask(self, owner: str, name: str) -> "asyncio.Task[bytes]":
        async def read() -> bytes:
            self.read.append(name)
            return name.encode()

        return asyncio.create_task(self.lane.encoded(owner, read, self._encode))

    def _encode(self, content: bytes) -> bytes:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        assert self.let.wait(DEADLINE_S)
        with self._lock:
            self._at_once -= 1
        return content.upper()


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work(EncodingLane(2, most_waiting=6, most_waiting_of_one=4))
    yield work
    work.let.set()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_no_more_are_read_or_encoded_than_may_be_at_once(work: Work) -> None:
    asked = [work.ask("one", name) for name in "abcdef"]
    await settled()
    assert work.read == ["a", "b"]

    work.let.set()
    assert await asyncio.gather(*asked) == [b"A", b"B", b"C", b"D", b"E", b"F"]
    assert work.most_at_once <= 2


async def test_owners_take_turns(work: Work) -> None:
    asked = [work.ask("one", name) for name in "abcdef"] + [work.ask("two", name) for name in "xy"]
    await settled()
    work.let.set()

    await asyncio.gather(*asked)
    assert work.read.index("x") < work.read.index("e") and work.read.index("y") < work.read.index("f")


async def test_who_would_have_to_wait_behind_too_many_is_told_so(work: Work) -> None:
    asked = [work.ask("one", name) for name in "abcdef"]
    await settled()
    with pytest.raises(TooBusy) as caught:
        await work.ask("one", "g")
    assert caught.value.retry_after_s
    asked += [work.ask("two", name) for name in "xy"]
    await settled()
    with pytest.raises(TooBusy):
        await work.ask("two", "z")

    work.let.set()
    assert len(await asyncio.gather(*asked)) == 8


async def test_who_goes_away_gives_his_turn_back_when_the_thread_has_ended(work: Work) -> None:
    asked = [work.ask("one", name) for name in "abc"]
    await settled()
    asked[0].cancel()
    await settled()
    assert work.read == ["a", "b"]

    work.let.set()
    assert await asyncio.gather(*asked[1:]) == [b"B", b"C"]
    with pytest.raises(asyncio.CancelledError):
        await asked[0]


async def test_a_picture_that_is_gone_takes_nobody_s_turn(work: Work) -> None:
    async def gone() -> bytes:
        raise ArtifactNotFound

    for _ in range(3):
        with pytest.raises(ArtifactNotFound):
            await work.lane.encoded("one", gone, bytes.upper)
    work.let.set()
    assert await work.ask("one", "a") == b"A"


async def test_however_many_addresses_are_asked_for_all_else_goes_on() -> None:
    encoding = Encoding()
    addresses, answers = Work(encoding.addresses), Work(encoding.answers)
    asked = [addresses.ask("one", f"a{place}") for place in range(50)]
    answers.let.set()
    try:
        async with asyncio.timeout(DEADLINE_S):
            assert await asyncio.gather(*(answers.ask("one", f"b{place}") for place in range(500)))
            assert await asyncio.to_thread(lambda: 1) == 1
        assert addresses.read == ["a0"]
    finally:
        addresses.let.set()
    assert len(await asyncio.gather(*asked)) == 50
