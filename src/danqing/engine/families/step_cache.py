"""Most of a denoising step taken from an earlier one, where the transformer's first block tells that little changed.

This is First Block Cache, and its pictures are those of diffusers' `FirstBlockCacheConfig`. Its hooks are not used:
they change what a block computes, so that a compiled one would be compiled anew while somebody waits, and have to be
told which run of a step is which, which several pipelines do not.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from danqing.core.sentences import says

BLOCKS = ("transformer_blocks", "single_transformer_blocks")  # in the order in which transformers run them


@dataclass
class _Memory:
    """What is kept of the last run that went through all blocks.

    first_added: by the first block, to the picture's tokens. rest_added: by the others, to those of the picture and of
    the text. after_first: both as the first block made them, until the last one has run.
    """

    first_added: Tensor | None = None
    rest_added: tuple[Tensor, Tensor] | None = None
    after_first: tuple[Tensor, Tensor] | None = None


class StepCache:
    """For one call of a pipeline. A step's runs of the transformer (with and without the prompt) are kept apart."""

    def __init__(self, threshold: float) -> None:
        """threshold: how much of what the first block added may differ from what it added then, 0 to 1."""
        self.runs = 0
        self.shortened = 0  # of these: all but the first block was left out
        self._threshold = threshold
        self._memories: list[_Memory] = []
        self._run_of_step = 0

    def step_done(self) -> None:
        """The next run is the first one of another step."""
        self._run_of_step = 0

    @contextmanager
    def applied(self, transformer: Any) -> Generator[None]:  # noqa: ANN401  diffusers is not typed
        """Inside, the transformer leaves blocks out. Afterwards it is as before, and nothing is remembered."""
        lists: dict[str, nn.ModuleList] = {
            name: getattr(transformer, name) for name in BLOCKS if name in dir(transformer)
        }
        last = sum(len(blocks) for blocks in lists.values()) - 1
        number = 0
        try:
            for name, blocks in lists.items():
                watched = nn.ModuleList()
                for block in blocks:
                    watched.append(_Watched(block, self, is_first=number == 0, is_last=number == last))
                    number += 1
                setattr(transformer, name, watched)
            yield
        finally:
            for name, blocks in lists.items():
                setattr(transformer, name, blocks)
            self._memories.clear()

    @property
    def adjustments(self) -> tuple[str, ...]:
        """What it did, as in `RawPicture`."""
        return (says("runs_cut_short", shortened=self.shortened, runs=self.runs),)

    @property
    def _memory(self) -> _Memory:
        return self._memories[self._run_of_step - 1]

    def begin(self, before: Tensor, picture: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """After the first block. before: the picture's tokens that it was given; picture, text: what it made."""
        self.runs += 1
        self._run_of_step += 1
        if self._run_of_step > len(self._memories):
            self._memories.append(_Memory())
        memory, added = self._memory, picture - before
        if memory.rest_added is not None and not self._changed(added, memory.first_added):
            self.shortened += 1
            memory.after_first = None
            return picture + memory.rest_added[0], text + memory.rest_added[1]
        memory.first_added, memory.after_first = added, (picture, text)
        return picture, text

    def _changed(self, added: Tensor, then: Tensor | None) -> bool:
        if then is None:
            return True
        return ((added - then).abs().mean() / then.abs().mean()).item() > self._threshold

    @property
    def leaves_out(self) -> bool:
        """Whether the rest of the present run's blocks is."""
        return self._memory.after_first is None

    def end(self, picture: Tensor, text: Tensor) -> None:
        """After the last block."""
        memory = self._memory
        if memory.after_first is not None:
            # A transformer in pieces ends on another device than it begins on.
            made = (each.to(then.device) - then for each, then in zip((picture, text), memory.after_first, strict=True))
            memory.rest_added = next(made), next(made)
            memory.after_first = None


class _Watched(nn.Module):
    """Stands for a block, which itself stays as it is: compiled, hooked or brought to the device when it runs."""

    def __init__(self, block: nn.Module, cache: StepCache, *, is_first: bool, is_last: bool) -> None:
        super().__init__()
        self.block = block
        self._cache = cache
        self._is_first = is_first
        self._is_last = is_last

    def forward(
        self, *, hidden_states: Tensor, encoder_hidden_states: Tensor, **others: object
    ) -> tuple[Tensor, Tensor]:
        """As the block's: tokens of the text, and of the picture."""
        if not self._is_first and self._cache.leaves_out:
            return encoder_hidden_states, hidden_states
        text, picture = self.block(hidden_states=hidden_states, encoder_hidden_states=encoder_hidden_states, **others)
        if self._is_first:
            picture, text = self._cache.begin(hidden_states, picture, text)
        elif self._is_last:
            self._cache.end(picture, text)
        return text, picture
