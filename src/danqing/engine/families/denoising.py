"""One call of a diffusers pipeline: a batch's latents, step by step, with previews, and stopped picture by picture."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import structlog
import torch
from torch import Tensor

from danqing.core.capabilities import ModelCard
from danqing.core.errors import EngineFailure, LoraFailure
from danqing.engine.device import is_out_of_memory
from danqing.engine.families.adapter import Order, StepWatcher
from danqing.engine.families.flow import foreseen
from danqing.engine.families.loaded_model import LoadedModel, Prompts, Size
from danqing.engine.families.step_cache import StepCache
from danqing.engine.input_pictures import Pixels
from danqing.engine.launched import Levels, done, mark, sent
from danqing.engine.loras import LoraPool

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Step:
    """What the device was given, and nobody was told of. there: waits for it. previews: made after it, by picture."""

    number: int
    there: Callable[[], None]
    previews: Mapping[int, Levels]


class Denoising:
    """One call of a pipeline."""

    def __init__(
        self,
        model: LoadedModel,
        card: ModelCard,
        orders: Sequence[Order],
        size: Size,
        watchers: Sequence[StepWatcher],
        loras: LoraPool | None,
        step_cache: StepCache | None = None,
    ) -> None:
        self.adjustments: tuple[str, ...] = ()  # of all its pictures
        self._model = model
        self._card = card
        self._orders = orders
        self._size = size
        self._watchers = watchers
        self._loras = loras
        self._step_cache = step_cache
        self._stopped = [False] * len(orders)
        self._before: Tensor | None = None
        self._given: list[_Step] = []

    def run(self, prompts: Prompts) -> list[Tensor | None]:
        """Latents (1, …) of each picture; None for one that was stopped. The pipeline's own flag makes it leave out the
        rest once all are.
        """
        pipeline, inputs = self._model.pipeline(self._orders)
        pipeline.set_progress_bar_config(disable=True)
        noise = [self._model.noise(order.request.seed, self._size) for order in self._orders]

        def after_step(_: object, index: int, timestep: object, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            self._after_step(pipeline, index + 1, tensors["latents"])
            return tensors

        with ExitStack() as stack:
            self.adjustments = stack.enter_context(self._with_loras())
            if self._step_cache is not None:
                stack.enter_context(self._step_cache.applied(self._model.parts.transformer))
            latents: Tensor = pipeline(
                width=self._size[0],
                height=self._size[1],
                num_inference_steps=self._orders[0].request.num_inference_steps,
                latents=sent(torch.cat(noise), pipeline._execution_device),
                output_type="latent",
                return_dict=False,
                callback_on_step_end=after_step,
                **prompts.arguments,
                **inputs,
            )[0]
            # The last one is waited for: whoever stops his picture in it gets none, and no decoding is begun for him.
            self._tell(pipeline.num_timesteps, until=pipeline.num_timesteps)
        if self._step_cache is not None:
            self.adjustments += self._step_cache.adjustments
        return [None if stopped else latents[i : i + 1] for i, stopped in enumerate(self._stopped)]

    def _with_loras(self) -> AbstractContextManager[tuple[str, ...]]:
        """Those that all orders of the batch have, on the parts that the pipeline was made of."""
        loras = self._orders[0].request.loras
        if not loras:
            return nullcontext(())
        if self._loras is None:
            raise LoraFailure(f"There is no LoRA {loras[0].name} any more.")
        return self._loras.applied(loras, self._card, self._model.parts)

    def _after_step(self, pipeline: Any, step: int, latents: Tensor) -> None:  # noqa: ANN401
        before = pipeline.begun if self._before is None else self._before
        self._before = latents
        if self._step_cache is not None:
            self._step_cache.step_done()
        total_steps: int = pipeline.num_timesteps
        there = mark(latents.device)
        self._tell(total_steps, until=step - 1)
        previews: dict[int, Levels] = {}
        for i in self._going_on():
            if step < total_steps and self._watchers[i].wants_preview():
                made = self._preview(foreseen(before[i : i + 1], latents[i : i + 1], pipeline.scheduler))
                if made is not None:
                    previews[i] = made
        self._given.append(_Step(step, there, previews))
        # A GPU is given the next step while it is at this one, but not more than that: what it has cannot be stopped.
        if there is done:
            self._tell(total_steps, until=step)
        pipeline._interrupt = not self._going_on()

    def _going_on(self) -> list[int]:
        return [i for i, stopped in enumerate(self._stopped) if not stopped]

    def _tell(self, total_steps: int, *, until: int) -> None:
        """Of each step up to that one, once it is done, whoever was not told yet, and shows its preview before that.
        Asks them whether to go on.
        """
        while self._going_on() and self._given and self._given[0].number <= until:
            step = self._given.pop(0)
            step.there()
            self._ask()  # whoever stopped meanwhile is not shown this any more
            for i in self._going_on():
                shown = _read(step.previews[i]) if i in step.previews else None
                if shown is not None:
                    self._watchers[i].preview_made(step.number, total_steps, shown)
                self._watchers[i].step_done(step.number, total_steps)
        self._ask()

    def _ask(self) -> None:
        for i in self._going_on():
            self._stopped[i] = self._watchers[i].stopped()

    def _preview(self, latents: Tensor) -> Levels | None:
        """None where there is no memory for it: that is no reason to lose the picture itself."""
        try:
            return self._model.preview(latents, self._size)
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            log.warning("no_memory_for_preview", model=self._card.id)
            return None


def _read(preview: Levels) -> Pixels | None:
    """None where the model made no numbers, which the picture itself will tell."""
    try:
        return preview.read()
    except EngineFailure:
        return None
