"""What flow-matching pipelines have in common: a scheduler, how many steps a strength leaves, where a step leads."""

from collections.abc import Iterator
from typing import Any, cast, overload

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
        self.timesteps_of_host: list[float] = cast(Any, self.timesteps).tolist()
        if device is not None:
            self.timesteps, self.sigmas = (sent(each, torch.device(device)) for each in (self.timesteps, self.sigmas))

    def scale_noise(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        sample: Tensor,
        timestep: Any,  # noqa: ANN401  as in diffusers
        noise: Any = None,  # noqa: ANN401
    ) -> Tensor:
        """See diffusers, which picks the noise level out by a list: that is sent to the device, and waited for."""
        its: Any = self
        begun = its.begin_index if its.step_index is None else its.step_index
        if its.begin_index is None:
            return cast(Any, super()).scale_noise(sample, timestep, noise)
        sigma = self.sigmas[begun : begun + 1].to(sample.device, sample.dtype).view(-1, *[1] * (sample.ndim - 1))
        made: Tensor = sigma * noise + (1.0 - sigma) * sample
        return made  # the sample's shape


class Timesteps:
    """As the pipelines that inpaint look at them: gone through they are the device's tensors, and picked out they are
    the host's numbers, for which nothing is waited for.
    """

    def __init__(self, of_device: Tensor, of_host: list[float]) -> None:
        self._of_device = of_device
        self._of_host = of_host

    def __len__(self) -> int:
        return len(self._of_host)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._of_device)

    @overload
    def __getitem__(self, place: int) -> float: ...
    @overload
    def __getitem__(self, place: slice) -> Tensor: ...
    def __getitem__(self, place: int | slice) -> float | Tensor:
        picked = self._of_host[place]
        return torch.tensor(picked) if isinstance(picked, list) else picked


class InpaintingUnwaited:
    """For pipelines that inpaint: once a step they ask for the next noise level."""

    scheduler: Any

    def get_timesteps(self, *given: Any) -> tuple[Any, int]:  # noqa: ANN401
        """See diffusers."""
        timesteps, steps = cast(Any, super()).get_timesteps(*given)
        if isinstance(self.scheduler, UnwaitedScheduler):
            timesteps = Timesteps(timesteps, self.scheduler.timesteps_of_host[-len(timesteps) :])
        return timesteps, steps


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
