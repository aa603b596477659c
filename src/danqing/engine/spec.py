"""How an engine is to be built: plain data that the server hands to a worker process. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from danqing.core.capabilities import ModelCard
from danqing.engine.upscale.choice import BUNDLED

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Attention = Literal["auto", "native", "cudnn", "flash", "flash3", "matmul"]
Compile = bool | Literal["auto"]


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """cards: the models that may be asked for, the default first, which is loaded at once; others as there is room.

    device: "cpu", "cuda", "cuda:N", or "auto" for the first CUDA device, else the CPU; "cuda:0+cuda:1" is a group, to
    all of which the parts of a model go that is too large for the first one.
    dtype: of the weights; "auto" is bfloat16 on CUDA and on a CPU that multiplies it, else float32.
    compile: what of a model pays, in a minute or more as it is loaded; "auto": see `is_compiled`. cpu_offload: keep on
    the CUDA device only the part that is running, or of a part that is larger than the device, the layer; slower, in
    far less memory.
    memory_bytes: that may be used of each device; None: all of it. peaks_file: where it is kept how much memory
    pictures took; None: nowhere.
    attention: "native" is PyTorch's own, "cudnn" its cuDNN kernel; "flash" and "flash3" need packages; "matmul" is for
    CPUs, see `matmul_attention`; "auto" takes the quickest, measured for each model as it is loaded.
    cpu_threads: threads that models on the CPU compute with; None is a core less than there are, at least one.
    upscaler: see `find_upscaler`. upscale_threads: that ncnn runs it with on a CPU; on one its results do not depend on
    the machine.
    picture_texts: whether encoded pictures tell how they were made, see `request_texts.py`.
    lora_folder: see `lora_files.py`; None: there are none. lora_pool_bytes: of LoRAs that stay on the device.
    """

    cards: tuple[ModelCard, ...]
    device: str = "auto"
    dtype: Dtype = "auto"
    compile: Compile = False
    cpu_offload: bool = False
    memory_bytes: int | None = None
    peaks_file: Path | None = None
    attention: Attention = "auto"
    cpu_threads: int | None = None
    upscaler: str = BUNDLED
    upscale_threads: int = 1
    picture_texts: bool = True
    prompt_cache_bytes: int = 64 * 1024 * 1024
    lora_folder: Path | None = None
    lora_pool_bytes: int = 1024 * 1024 * 1024
