"""What a job can be found by, as small numbers: the letters of its prompt, its model, mode and owner.

Different things may have one number: who has all numbers of what is looked for may fit, who lacks one does not. The
numbers are stored: what they are made of must never change.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from zlib import crc32

from danqing.core.batches import BatchFilter, folded

TERMS = 16_381  # numbers from 0; a prime, so that all letters count in the rest
MOST_WANTED = 12  # of a word or several; more hardly leave out more
_FACTOR = 1_000_003 % TERMS
_SQUARE, _CUBE = _FACTOR**2 % TERMS, _FACTOR**3 % TERMS


def terms_of(owner: str, model: str, mode: str, prompt: str) -> frozenset[int]:
    """Of a job."""
    return _in_text(prompt) | {_named("owner", owner), _named("model", model), _named("mode", mode)}


def terms_wanted(owner: str | None, wanted: BatchFilter) -> list[int]:
    """All of them are those of every job that is meant. owner: whose; None: everybody's. Empty where nothing that is
    wanted has a number.
    """
    inside = sorted({term for word in wanted.words for term in _of_word(word)})
    terms = inside[:: -(-len(inside) // MOST_WANTED)] if inside else []
    if wanted.model is not None:
        terms.append(_named("model", wanted.model))
    if wanted.mode is not None:
        terms.append(_named("mode", wanted.mode.value))
    if owner is not None:
        terms.append(_named("owner", owner))
    return list(dict.fromkeys(terms))


@lru_cache(maxsize=16)  # jobs of one batch often have one prompt
def _in_text(prompt: str) -> frozenset[int]:
    """Of each letter, each two and each three neighbours: a word may be as short as that, in Chinese above all."""
    codes = _codes(prompt)
    return frozenset([*_ones(codes), *_twos(codes), *_threes(codes)])


def _of_word(word: str) -> list[int]:
    """The longest pieces of it say most."""
    codes = _codes(word)
    return _threes(codes) or _twos(codes) or _ones(codes)


def _codes(text: str) -> list[int]:
    return list(map(ord, folded(text)))


def _ones(codes: Sequence[int]) -> list[int]:
    return [(one * _FACTOR + 1) % TERMS for one in codes]


def _twos(codes: Sequence[int]) -> list[int]:
    return [(one * _SQUARE + two * _FACTOR + 2) % TERMS for one, two in pairwise(codes)]


def _threes(codes: Sequence[int]) -> list[int]:
    return [
        (one * _CUBE + two * _SQUARE + three * _FACTOR + 3) % TERMS
        for one, two, three in zip(codes, codes[1:], codes[2:], strict=False)
    ]


@lru_cache(maxsize=1024)
def _named(kind: str, name: str) -> int:
    return crc32(f"{kind}\0{name}".encode("utf-8", "surrogatepass")) % TERMS
