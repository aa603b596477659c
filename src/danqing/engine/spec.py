"""How an engine is to be built: plain data that the server hands to a worker process. Imports no torch."""

from dataclasses import dataclass
from typing import Literal

from danqing.core.capabilities import ModelCard

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Attention = Literal["auto", "native", "flash", "flash3"]


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """cards: the models to load, all of them.

    device: "cpu", "cuda", "cuda:N", or "auto" for the first CUDA device, else the CPU.
    dtype: of the weights; "auto" is bfloat16 on CUDA and float32 on a CPU.
    compile: compile the transformer's blocks; takes minutes at start-up. cpu_offload: keep on the CUDA device only the
    part that is running; slower, in far less memory.
    attention: "native" is PyTorch's own; "flash" and "flash3" need their packages; "auto" takes the newest one that the
    device can run.
    cpu_threads: threads that models on the CPU compute with; None is a core less than there are, at least one.
    upscale_threads: threads of the upscaler; its results on one thread do not depend on the machine.
    """

    cards: tuple[ModelCard, ...]
    device: str = "auto"
    dtype: Dtype = "auto"
    compile: bool = False
    cpu_offload: bool = False
    attention: Attention = "auto"
    cpu_threads: int | None = None
    upscale_threads: int = 1
    prompt_cache_bytes: int = 64 * 1024 * 1024
