"""What flow-matching pipelines have in common: a scheduler, how many steps a strength leaves, where a step leads."""

from typing import Any

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from danqing.engine.launched import sent

# diffusers is not typed: its schedulers are Any.


class UnwaitedScheduler(FlowMatchEulerDiscreteScheduler):
    """The same, but that its numbers go to the device without waiting for what that is at."""

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: list[float] | None = None,
        mu: float | None = None,
        timesteps: list[float] | None = None,
    ) -> None:
        """See diffusers."""
        super().set_timesteps(num_inference_steps, "cpu", sigmas, mu, timesteps)
        if device is not None:
            self.timesteps, self.sigmas = (sent(each, torch.device(device)) for each in (self.timesteps, self.sigmas))


def new_scheduler(like: Any, **changes: object) -> Any:  # noqa: ANN401
    """Of that kind and configuration, but for the changes; with nothing of what that one has been used for."""
    made_by: Any = UnwaitedScheduler if type(like) is FlowMatchEulerDiscreteScheduler else like
    return made_by.from_config(like.config, **changes)


def steps_taken(num_inference_steps: int, strength: float) -> int:
    """How many of the steps a pipeline of that strength takes, counted as its `get_timesteps` does; 0 to all.

    With none the pipelines refuse to run: nothing of the picture goes.
    """
    return num_inference_steps - int(
        max(num_inference_steps - min(num_inference_steps * strength, num_inference_steps), 0)
    )


def foreseen(before: Tensor, after: Tensor, scheduler: Any) -> Tensor:  # noqa: ANN401  a FlowMatchEulerDiscreteScheduler
    """Where the step that the scheduler just made, from the latents before to those after, leads in the end.

    It goes along a straight line; where a mask keeps something, both lie on the one from the noise to what is kept.
    """
    sigma_before, sigma_after = scheduler.sigmas[scheduler.step_index - 1], scheduler.sigmas[scheduler.step_index]
    velocity = (before - after) / (sigma_before - sigma_after)
    return after - sigma_after * velocity  # shaped as the latents are
