"""What flow-matching pipelines have in common: how many steps a strength leaves, and where a step leads in the end."""

from typing import Any

from torch import Tensor


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
