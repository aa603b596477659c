"""Remembers encoded prompts, newest used last, within a number of bytes."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Encoding = tuple[Tensor, ...]  # what a family's encoders make of one text


@dataclass(frozen=True, kw_only=True)
class PromptKey:
    """What an encoding depends on. pictures: digests of those that the text speaks of, in order."""

    model: str
    text: str
    max_sequence_length: int
    pictures: tuple[str, ...] = ()


class PromptCache:
    """Least recently used out first. For one thread. Its tensors are shared: nobody may write into them."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self.hits = 0  # read by other threads
        self.misses = 0
        self._entries: OrderedDict[PromptKey, Encoding] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """Of all tensors held; at most max_bytes."""
        return self._held_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: PromptKey, encode: Callable[[], Encoding]) -> Encoding:
        """The encoding held, else what encode() gives, which is then held unless it is larger than the whole cache."""
        if (held := self._entries.get(key)) is not None:
            self._entries.move_to_end(key)
            self.hits += 1
            return held
        self.misses += 1
        made = encode()
        if _bytes(made) <= self._max_bytes:
            self._entries[key] = made
            self._held_bytes += _bytes(made)
            while self._held_bytes > self._max_bytes:
                _, oldest = self._entries.popitem(last=False)
                self._held_bytes -= _bytes(oldest)
        return made

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
        self._held_bytes = 0


def _bytes(encoding: Encoding) -> int:
    return sum(tensor.nbytes for tensor in encoding)
