"""The prompt cache: bounded, least recently used out first."""

import torch
from torch import Tensor

from danqing.engine.prompt_cache import PromptCache, PromptKey


def key(text: str, *, model: str = "m", length: int = 512, pictures: tuple[str, ...] = ()) -> PromptKey:
    return PromptKey(model=model, text=text, max_sequence_length=length, pictures=pictures)


class Encoder:
    """Makes two float32 tensors of so many bytes in all and counts."""

    def __init__(self, nbytes: int = 400) -> None:
        self.calls = 0
        self._count = nbytes // 4

    def __call__(self) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return torch.zeros(1), torch.zeros(self._count - 1)


def test_an_equal_key_is_encoded_once_and_any_other_again() -> None:
    cache, encode = PromptCache(max_bytes=10_000), Encoder()
    first = cache.get(key("a"), encode)
    assert cache.get(key("a"), encode) is first
    assert encode.calls == 1
    for other in (key("b"), key("a", model="n"), key("a", length=256), key("a", pictures=("f00d",))):
        cache.get(other, encode)
    assert encode.calls == 5


def test_the_least_recently_used_goes_first_and_the_bound_holds() -> None:
    # Given room for three, and three held, the first of them used again
    cache, encode = PromptCache(max_bytes=1200), Encoder(400)
    for text in ("a", "b", "c", "a"):
        cache.get(key(text), encode)
    assert (encode.calls, cache.held_bytes, len(cache)) == (3, 1200, 3)
    # When a fourth comes
    cache.get(key("d"), encode)
    # Then the second is gone and the others are there
    assert cache.held_bytes == 1200
    for text in ("a", "c", "d"):
        cache.get(key(text), encode)
    assert encode.calls == 4
    cache.get(key("b"), encode)
    assert encode.calls == 5


def test_what_is_larger_than_the_cache_is_not_held_and_pushes_nothing_out() -> None:
    cache, small, large = PromptCache(max_bytes=1000), Encoder(400), Encoder(4000)
    cache.get(key("small"), small)
    cache.get(key("large"), large)
    cache.get(key("large"), large)
    cache.get(key("small"), small)
    assert (small.calls, large.calls, cache.held_bytes) == (1, 2, 400)
    assert (cache.hits, cache.misses) == (1, 3)


def test_clearing_forgets_everything() -> None:
    cache, encode = PromptCache(max_bytes=1000), Encoder()
    cache.get(key("a"), encode)
    cache.clear()
    assert (cache.held_bytes, len(cache)) == (0, 0)
    cache.get(key("a"), encode)
    assert encode.calls == 2
