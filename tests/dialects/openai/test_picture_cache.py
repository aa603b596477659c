"""What is held of the pictures that were encoded, and for how long."""

import asyncio

import pytest

from danqing.core.errors import ArtifactNotFound
from danqing.dialects.openai.picture_cache import EncodedPicture, PictureCache


class Encoder:
    """Makes ten bytes for each name; `made` are the names, in order."""

    def __init__(self, cache: PictureCache) -> None:
        self.made: list[str] = []
        self._cache = cache

    async def get(self, name: str) -> EncodedPicture:
        async def encode() -> bytes:
            self.made.append(name)
            return name.encode() * 10

        return await self._cache.get(name, encode)


async def test_those_asked_for_last_are_held_up_to_the_limit() -> None:
    # Given room for two
    encoder = Encoder(PictureCache(max_bytes=20))

    for name in ("a", "b", "a", "a", "b", "c", "b", "a"):
        assert (await encoder.get(name)).content == name.encode() * 10

    assert encoder.made == ["a", "b", "c", "a"]


async def test_one_that_is_larger_than_the_limit_is_not_held() -> None:
    encoder = Encoder(PictureCache(max_bytes=9))

    assert (await encoder.get("a")).content == (await encoder.get("a")).content
    assert encoder.made == ["a", "a"]


async def test_the_tag_is_the_contents() -> None:
    one, other = Encoder(PictureCache()), Encoder(PictureCache())

    assert (await one.get("a")).etag == (await other.get("a")).etag != (await one.get("b")).etag


async def test_a_failure_is_not_held() -> None:
    cache = PictureCache()

    async def fail() -> bytes:
        raise ArtifactNotFound

    with pytest.raises(ArtifactNotFound):
        await cache.get("a", fail)

    assert (await Encoder(cache).get("a")).content == b"a" * 10


async def test_who_asks_at_the_same_time_gets_the_same_one() -> None:
    cache, begun, may_end = PictureCache(max_bytes=1), asyncio.Event(), asyncio.Event()
    made: list[str] = []

    async def encode() -> bytes:
        made.append("a")
        begun.set()
        await may_end.wait()
        return b"a" * 10

    # Given three who ask for one picture, the first of whom then goes
    asking = [asyncio.create_task(cache.get("a", encode)) for _ in range(3)]
    await begun.wait()
    asking[0].cancel()
    await asyncio.wait(asking[:1])
    may_end.set()

    # Then the others get it, made once
    second, third = [await each for each in asking[1:]]
    assert (second.content, second is third, made) == (b"a" * 10, True, ["a"])
    # And it is made anew for who comes later
    await cache.get("a", encode)
    assert made == ["a", "a"]


async def test_who_asks_at_the_same_time_gets_the_same_failure() -> None:
    cache = PictureCache()

    async def fail() -> bytes:
        await asyncio.sleep(0)
        raise ArtifactNotFound

    failures = await asyncio.gather(*(cache.get("a", fail) for _ in range(3)), return_exceptions=True)

    assert [type(failure) for failure in failures] == [ArtifactNotFound] * 3
    assert (await Encoder(cache).get("a")).content == b"a" * 10
