"""What a device was given to do and may still be at: it works on its own, and is waited for only where that matters."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from danqing.core.errors import EngineFailure
from danqing.core.sentences import says
from danqing.engine.input_pictures import Pixels


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The host's tensor there, without waiting for all that the device is at, as torch does by itself."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # pinned memory is used again only after that


def apart(device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """Within what is returned, what a thread gives the device waits for nothing that was given to it outside, and goes
    before that. Any thread, and several; theirs is done in order.

    No tensor on the device may pass in or out: torch gives memory out again as though all that is done with it was done
    where it was got. Nothing of this is so on a CPU, which does nothing on its own.
    """
    if device.type != "cuda":
        return nullcontext
    stream = torch.cuda.Stream(device, priority=-1)

    @contextmanager
    def entered() -> Generator[None]:
        # The device too: a stream that is left sets the thread's own again, and so begins to use the first GPU as well.
        with torch.cuda.device(device), torch.cuda.stream(stream):
            yield

    return entered


def mark(device: torch.device) -> Callable[[], None]:
    """What is returned waits until the device has done all that this thread gave it before: asleep, in any thread.
    Within `apart`, all that was given to it there.

    Raises RuntimeError, as torch does, if the device failed. A CPU has done it already, and what is returned is `done`.
    """
    if device.type != "cuda":
        return done
    event = torch.cuda.Event(blocking=True)
    event.record(torch.cuda.current_stream(device))

    def wait() -> None:
        with torch.cuda.device(device):  # a thread that never used one would take memory of the first GPU, to wait
            event.synchronize()

    return wait


def done() -> None:
    """There is nothing to wait for."""


@dataclass(frozen=True)
class Levels:
    """A picture on its way to the host. pixels: uint8 RGB (H, W, 3). finite: whether the model made numbers. Both are
    of use once `there` has returned.
    """

    pixels: Tensor
    finite: Tensor
    there: Callable[[], None]

    def read(self) -> Pixels:
        """Waits for it; any thread. Raises EngineFailure if the model made no numbers."""
        self.there()
        if not self.finite:
            raise EngineFailure(says("not_a_number"))
        return self.pixels.numpy()


def levels(image: Tensor) -> Levels:
    """image: (1, 3, H, W), -1 to 1. Does not wait for its device, and needs nothing of that afterwards."""
    finite = torch.isfinite(image).all()
    pixels = ((image.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)  # (1, 3, H, W)
    rgb = pixels[0].permute(1, 2, 0).contiguous()  # (H, W, 3)
    # From a GPU into pinned memory, which it writes on its own.
    on_host = rgb.to("cpu", non_blocking=True), finite.to("cpu", non_blocking=True)
    return Levels(*on_host, there=mark(image.device))
