"""What every family with a step cache promises. Subclasses give the fixtures `card` and `adapter`, and `theirs`."""

import contextlib
from collections.abc import Generator
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig

from danqing.core.capabilities import ModelCard
from danqing.core.types import GenerationRequest
from danqing.engine.families.adapter import MadePicture, Order, StepWatcher, Unwatched
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.input_pictures import Pixels
from tests.contracts.engine import request_for

SIZE = (96, 64)
STEPS = 8
EVERYTHING = 1e9  # a threshold that no change exceeds


class StoppedAfter(Unwatched):
    """Stops its picture after so many steps."""

    def __init__(self, steps: int) -> None:
        self.seen: list[int] = []
        self._steps = steps

    def step_done(self, step: int, total_steps: int) -> None:
        self.seen.append(step)

    def stopped(self) -> bool:
        return len(self.seen) >= self._steps


class FailsAfter(StoppedAfter):
    """Its step raises."""

    def step_done(self, step: int, total_steps: int) -> None:
        super().step_done(step, total_steps)
        if self.stopped():
            raise RuntimeError("as a library would")

    def stopped(self) -> bool:
        return len(self.seen) >= self._steps


def transformer_of(adapter: PipelinedAdapter) -> Any:  # noqa: ANN401
    return cast(Any, adapter)._model.parts.transformer


def blocks_of(adapter: PipelinedAdapter) -> list[torch.nn.Module]:
    transformer = transformer_of(adapter)
    lists = [getattr(transformer, name, ()) for name in ("transformer_blocks", "single_transformer_blocks")]
    return [block for blocks in lists for block in blocks]


@contextlib.contextmanager
def counted(adapter: PipelinedAdapter) -> Generator[list[int]]:
    """How often each block runs."""
    runs = [0] * len(blocks_of(adapter))

    def count(number: int) -> None:
        runs[number] += 1

    hooks = [
        block.register_forward_hook(lambda *_, number=number: count(number))
        for number, block in enumerate(blocks_of(adapter))
    ]
    try:
        yield runs
    finally:
        for hook in hooks:
            hook.remove()


class StepCacheContract:
    """guidance_scale: with which a step runs the transformer `runs_a_step` times."""

    guidance_scale: float
    runs_a_step: int

    def theirs(self, card: ModelCard, request: GenerationRequest, config: FirstBlockCacheConfig) -> Pixels:
        """By diffusers' own pipeline, its transformer with its own cache."""
        raise NotImplementedError

    def request(self, card: ModelCard, **changes: object) -> GenerationRequest:
        return request_for(card, **{"guidance_scale": self.guidance_scale, "num_inference_steps": STEPS, **changes})

    def make(
        self, adapter: PipelinedAdapter, request: GenerationRequest, watcher: StepWatcher | None = None
    ) -> MadePicture | None:
        order = Order(request=request)
        (made,) = adapter.make([order], SIZE, watchers=[watcher or Unwatched()], spare_memory=False)
        return made and made.decoded()

    def rgb(self, adapter: PipelinedAdapter, request: GenerationRequest) -> Pixels:
        made = self.make(adapter, request)
        assert made is not None
        return made.rgb

    @pytest.mark.parametrize("threshold", [0.03, 0.15, EVERYTHING])
    def test_pictures_are_those_of_diffusers_own_cache(
        self, card: ModelCard, adapter: PipelinedAdapter, threshold: float
    ) -> None:
        request = self.request(card, step_cache=threshold)
        expected = self.theirs(card, request, FirstBlockCacheConfig(threshold=threshold))
        assert np.abs(self.rgb(adapter, request).astype(int) - expected).max() <= 1

    def test_what_is_cut_short_runs_the_first_block_only_and_is_said(
        self, card: ModelCard, adapter: PipelinedAdapter
    ) -> None:
        with counted(adapter) as runs:
            made = self.make(adapter, self.request(card, step_cache=EVERYTHING))
        first, *others = runs
        assert first == STEPS * self.runs_a_step
        assert set(others) == {self.runs_a_step}  # in the first step, with nothing to go by
        assert made is not None
        said = f"step cache: {first - self.runs_a_step} of {first} runs of the transformer cut short"
        assert made.adjustments == (said,)

    def test_without_any_tolerance_it_is_the_picture_without_it(
        self, card: ModelCard, adapter: PipelinedAdapter
    ) -> None:
        with counted(adapter) as runs:
            cautious = self.rgb(adapter, self.request(card, step_cache=1e-9))
        assert set(runs) == {STEPS * self.runs_a_step}
        # to rounding: the blocks are not run differently
        assert np.array_equal(cautious, self.rgb(adapter, self.request(card)))

    def test_nothing_of_it_is_left_whatever_happens(self, card: ModelCard, adapter: PipelinedAdapter) -> None:
        # Given a picture made without it
        plain, cached = self.request(card), self.request(card, step_cache=EVERYTHING)
        before, first = self.rgb(adapter, plain), self.rgb(adapter, cached)
        blocks = blocks_of(adapter)
        assert not np.array_equal(before, first)
        # When pictures with it are made, stopped within a step, and fail
        watcher = StoppedAfter(2)
        assert self.make(adapter, cached, watcher) is None
        assert watcher.seen == [1, 2]
        with pytest.raises(RuntimeError, match="as a library would"):
            self.make(adapter, cached, FailsAfter(2))
        # Then the transformer is as it was, and each kind of picture too
        assert all(now is then for now, then in zip(blocks_of(adapter), blocks, strict=True))
        assert np.array_equal(self.rgb(adapter, plain), before)
        assert np.array_equal(self.rgb(adapter, cached), first)
        assert not getattr(transformer_of(adapter), "is_cache_enabled", False)

    def test_a_compiled_block_is_run_as_it_was_compiled(self, card: ModelCard, adapter: PipelinedAdapter) -> None:
        # Given blocks of which one is compiled, and has run
        compiled: list[object] = []

        def backend(graph: Any, _inputs: object) -> Any:  # noqa: ANN401
            compiled.append(graph)
            return graph.forward

        block = blocks_of(adapter)[-1]
        plain = self.rgb(adapter, self.request(card))
        block.compile(backend=backend)
        try:
            self.rgb(adapter, self.request(card))
            assert compiled
            before = len(compiled)
            # When pictures are made with a cache, with other thresholds too, and without
            for threshold in (EVERYTHING, 0.1, 1e-9):
                self.rgb(adapter, self.request(card, step_cache=threshold))
            again = self.rgb(adapter, self.request(card))
        finally:
            block._compiled_call_impl = None
        # Then nothing is compiled anew
        assert len(compiled) == before
        assert np.abs(again.astype(int) - plain).max() <= 1
