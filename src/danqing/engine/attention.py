"""The kernel that a model's attention is computed with: chosen by hand, or the quickest there is on its own shape.

Knows diffusers' names for kernels, and nothing of pipelines.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog
import torch
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _check_attention_backend_requirements,  # pyright: ignore[reportPrivateUsage, reportUnknownVariableType]
    dispatch_attention_fn,  # pyright: ignore[reportUnknownVariableType]
)
from torch import Tensor

from danqing.core.errors import ModelLoadFailure
from danqing.engine import matmul_attention
from danqing.engine.device import Device, is_out_of_memory
from danqing.engine.spec import Attention

NATIVE = "native"
# diffusers' names. The first is taken where others are hardly quicker, so that chance does not decide between two.
KERNELS: Mapping[Attention, str] = {
    "flash3": "_flash_3",
    "flash": "flash",
    "cudnn": "_native_cudnn",
    "matmul": matmul_attention.NAME.value,
    "native": NATIVE,
}
TAKE_MASKS = (NATIVE, KERNELS["matmul"])
NEEDS = {
    "flash3": "flash_attn_interface",
    "flash": "flash_attn of version 2.6.3 or newer",
    "cudnn": "a PyTorch with cuDNN",
}
HOPPER = (9, 0)  # compute capability that FlashAttention 3 is written for
AMPERE = (8, 0)  # the least for the others
HARDLY = 1.05  # times as slow
WARM_UPS, ROUNDS, CALLS = 3, 3, 10
# On a CPU of as many tokens whatever the model's: for few it makes no difference that could be measured in a moment,
# and for the most it takes long.
CPU_CALLS, CPU_TOKENS = 1, 512
FEW = (2, 37)  # pictures and tokens: a kernel that is quick for many need not know so odd a number
MOST_DIFFERENCE = 0.02  # on average, beside what PyTorch's own makes; half-precision numbers are rounded to 0.004

log = structlog.get_logger(__name__)
Given = tuple[Tensor, Tensor, Tensor]  # query, key, value, each (pictures, tokens, heads, head_size)
Kernel = Callable[[str, Tensor, Tensor, Tensor], Tensor]  # diffusers' name, and what is given


@dataclass(frozen=True, kw_only=True)
class AttentionShape:
    """What a transformer attends to in one picture of its usual size."""

    tokens: int
    heads: int
    head_size: int


class AttentionChoice:
    """Of one device's models. For one thread."""

    def __init__(
        self,
        device: Device,
        wanted: Attention,
        *,
        compiled: bool = False,
        is_usable: Callable[[str], bool] | None = None,
        run: Kernel | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """compiled: the models' blocks are, for which `matmul` is nothing: it goes by the number of tokens.

        is_usable: whether what a kernel, by diffusers' name, needs is installed. run: computes with one of them.
        clock: seconds, read while the device has nothing to do.
        """
        self._device = device
        self._wanted: Attention = wanted
        self._compiled = compiled
        self._is_usable = is_usable or _is_installed
        self._run = run or _run
        self._clock = clock
        self._chosen: dict[AttentionShape, str] = {}
        if not device.is_cuda:
            matmul_attention.register()

    def kernel_for(self, shape: AttentionShape) -> str:
        """diffusers' name; PyTorch's own where there is nothing to choose, as in float32.

        Blocking, up to a second or two for a shape that was not asked for before. Raises ModelLoadFailure for one that
        was chosen by hand and is not here.
        """
        if self._wanted != "auto":
            return self._by_hand(self._wanted)
        candidates = self._candidates()
        if candidates == [NATIVE]:
            return NATIVE
        if not self._device.is_cuda:
            shape = replace(shape, tokens=CPU_TOKENS)
        if shape not in self._chosen:
            self._chosen[shape] = self._quickest(candidates, shape)
        return self._chosen[shape]

    def _by_hand(self, wanted: Attention) -> str:
        kernel = KERNELS[wanted]
        if kernel != NATIVE and (wanted == "matmul") is self._device.is_cuda:
            log.warning("attention_has_no_effect", attention=wanted, device=str(self._device.torch_device))
            kernel = NATIVE
        if kernel == NATIVE:
            return kernel
        if not self._is_usable(kernel):
            raise ModelLoadFailure(f"Attention {wanted} needs {NEEDS[wanted]}, which is not installed, or damaged.")
        return kernel

    def _candidates(self) -> list[str]:
        """In the order of preference, PyTorch's own last."""
        if self._device.dtype not in (torch.bfloat16, torch.float16):
            return [NATIVE]
        if not self._device.is_cuda:
            return [NATIVE] if self._compiled else [KERNELS["matmul"], NATIVE]
        capability = torch.cuda.get_device_capability(self._device.torch_device)
        can_run = {"flash3": capability == HOPPER, "flash": capability >= AMPERE, "cudnn": capability >= AMPERE}
        return [
            kernel
            for name, kernel in KERNELS.items()
            if name == "native" or (can_run.get(name, False) and self._is_usable(kernel))
        ]

    def _quickest(self, candidates: Sequence[str], shape: AttentionShape) -> str:
        try:
            with torch.inference_mode():
                seconds = self._measure(candidates, shape)
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            log.warning("no_memory_to_measure_attention")
            return NATIVE
        least = min(seconds.values())
        chosen = next(kernel for kernel in candidates if seconds.get(kernel, float("inf")) <= least * HARDLY)
        milliseconds = {kernel: round(1000 * each, 3) for kernel, each in seconds.items()}
        log.info(
            "attention_measured",
            chosen=chosen,
            milliseconds=milliseconds,
            tokens=shape.tokens,
            heads=shape.heads,
            head_size=shape.head_size,
        )
        return chosen

    def _measure(self, candidates: Sequence[str], shape: AttentionShape) -> dict[str, float]:
        """Seconds of each that computes the right thing, in turns, so that what else the device does bears on all."""
        calls = CALLS if self._device.is_cuda else CPU_CALLS
        usual, few = (self._random(*given, shape) for given in ((1, shape.tokens), FEW))
        usable = [kernel for kernel in candidates if self._agrees(kernel, few) and self._agrees(kernel, usual)]
        seconds = dict.fromkeys(usable, float("inf"))
        for _ in range(ROUNDS):
            for kernel in usable:
                self._synchronise()
                began = self._clock()
                for _ in range(calls):
                    self._run(kernel, *usual)
                self._synchronise()
                seconds[kernel] = min(seconds[kernel], (self._clock() - began) / calls)
        return seconds

    def _random(self, pictures: int, tokens: int, shape: AttentionShape) -> Given:
        size, device = (pictures, tokens, shape.heads, shape.head_size), self._device.torch_device
        query, key, value = (torch.randn(size, device=device).to(self._device.dtype) for _ in range(3))
        return query, key, value

    def _agrees(self, kernel: str, given: Given) -> bool:
        """Whether it runs, and makes what PyTorch's own makes; it is warm afterwards."""
        right = self._run(NATIVE, *given)
        if kernel == NATIVE:
            return True
        try:
            made = [self._run(kernel, *given) for _ in range(WARM_UPS)][-1]
        # A kernel that was built for another PyTorch, or does not know the shape, raises whatever it likes.
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ImportError, AssertionError) as exc:
            if is_out_of_memory(exc):
                raise
            log.warning("attention_left_out", kernel=kernel, reason=f"{type(exc).__name__}: {exc}"[:200])
            return False
        if made.shape != right.shape:
            log.warning("attention_left_out", kernel=kernel, reason="wrong shape")
            return False
        difference = ((made.float() - right.float()).abs().mean() / right.float().abs().mean()).item()
        if not difference <= MOST_DIFFERENCE:
            log.warning("attention_left_out", kernel=kernel, reason="wrong results", difference=round(difference, 4))
            return False
        return True

    def _synchronise(self) -> None:
        if self._device.torch_device.type == "cuda":
            torch.cuda.synchronize(self._device.torch_device)


def _is_installed(kernel: str) -> bool:
    if kernel == KERNELS["matmul"]:
        return True
    if kernel == KERNELS["cudnn"]:
        return torch.backends.cudnn.is_available()
    try:
        _check_attention_backend_requirements(AttentionBackendName(kernel))
    except RuntimeError:
        return False
    return True


def _run(kernel: str, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    made: Tensor = dispatch_attention_fn(query, key, value, backend=AttentionBackendName(kernel))
    return made
