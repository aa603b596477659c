"""What flow-matching pipelines have in common: a scheduler, how many steps a strength leaves, where a step leads."""

from collections.abc import Iterator, Sequence
from typing import Any, cast, overload

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from danqing.engine.families.placement import HOST
from danqing.engine.launched import sent

# diffusers is not typed: its schedulers are Any.


class UnwaitedScheduler(FlowMatchEulerDiscreteScheduler):
    """The same, but that its numbers go to the device without waiting for what that is at; and it begins with the first
    step, unless it is told another one: pipelines with a ControlNet do not say so, and it would look the step up on the
    device.
    """

    keeps_timesteps = False

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: list[float] | None = None,
        mu: float | None = None,
        timesteps: list[float] | None = None,
    ) -> None:
        """See diffusers."""
        super().set_timesteps(num_inference_steps, HOST, sigmas, mu, timesteps)
        self.timesteps_of_host: list[float] = cast(Any, self.timesteps).tolist()
        if device is not None:
            self.sigmas = sent(self.sigmas, torch.device(device))
            if not self.keeps_timesteps:
                self.timesteps = sent(cast(Any, self.timesteps), torch.device(device))
            self.set_begin_index(0)

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


class TimestepsOfHost(UnwaitedScheduler):
    """Its timesteps stay on the host, for pipelines that ask for their numbers in each step; what they call with them
    is in `Sending`.
    """

    keeps_timesteps = True


class Sending:
    """A transformer that is given timesteps of the host: they are sent, and not waited for."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        self._model = model

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._model, name)

    def __call__(self, latents: Sequence[Tensor], timestep: Tensor, *others: object, **named: object) -> Any:  # noqa: ANN401
        """As the model's. latents: of each picture, on the device."""
        there = sent(timestep, latents[0].device) if timestep.device == HOST else timestep
        return self._model(latents, there, *others, **named)


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


def new_scheduler(like: Any, *, made_by: Any = UnwaitedScheduler, **changes: object) -> Any:  # noqa: ANN401
    """Of that kind and configuration, but for the changes; with nothing of what that one has been used for.

    made_by: the kind of `UnwaitedScheduler` to take for diffusers' own; any other stays of its kind.
    """
    if type(like) is not FlowMatchEulerDiscreteScheduler:
        made_by = like
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
