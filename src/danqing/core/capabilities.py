"""What a model can do, as data: read by the Studio before a job is accepted, and by the engine while making it."""

from dataclasses import dataclass
from typing import Literal

from danqing.core.types import Mode

Precision = Literal["native", "sdnq-uint4", "sdnq-int8", "torchao-int8", "torchao-fp8"]

MAX_PROMPT_CHARS = 32_000  # as long as OpenAI's clients may send one; a model's encoder cuts what is too long for it


@dataclass(frozen=True, kw_only=True)
class Range:
    """Both ends included."""

    minimum: int
    maximum: int

    def __contains__(self, value: int) -> bool:
        return self.minimum <= value <= self.maximum


@dataclass(frozen=True, kw_only=True)
class FreeSizes:
    """The model makes any size whose sides are multiples of `multiple_of`, up to `max_pixels` in all.

    max_pixels is at least the square of min_side rounded up to such a multiple.
    """

    multiple_of: int
    min_side: int
    max_pixels: int


@dataclass(frozen=True, kw_only=True)
class TrainedSizes:
    """The model makes these (width, height) sizes only; everything else is scaled from the nearest shape."""

    sizes: tuple[tuple[int, int], ...]


SizeRules = FreeSizes | TrainedSizes


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """A picture is brought to about so many pixels, its sides to multiples of `multiple_of`, its shape kept else."""

    pixels: int
    multiple_of: int


@dataclass(frozen=True, kw_only=True)
class ReferenceScaling:
    """How large a picture that an instruction speaks of is looked at: as latents, and together with the prompt.

    framed: it is brought to the frame of the picture that is made before, as one that is begun with, so that places
    in both mean the same, several of them side by side; otherwise each is looked at whole.
    """

    latents: Scaling
    prompt: Scaling
    framed: bool = False


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """side: pixels a client may ask for, each way; a size the model cannot make itself is scaled to, see `sizes.py`.

    guidance: whether guidance_scale may be above 0. A distilled model may well take it without being meant for it; its
    default is 0 then. negative_prompt: whether one may be given; without guidance it has no effect (`adjustments.py`).
    instruction_edit: whether it understands "make the cat blue"; a model without that, but with the mode edit, begins
    with the picture and draws what the prompt describes. max_input_images: pictures that an edit may start from.
    sequence_length: tokens that a prompt may be cut to. cfg_shaping: whether cfg_normalization and cfg_truncation
    count. reference_scaling: None where no instruction is understood. step_cache: whether so many steps are so much
    alike that most of one may be taken from the one before.
    """

    modes: frozenset[Mode]
    size_rules: SizeRules
    side: Range
    steps: Range
    guidance: bool
    negative_prompt: bool
    max_prompt_chars: int
    instruction_edit: bool = False
    max_input_images: int = 0
    sequence_length: Range = Range(minimum=1, maximum=512)
    cfg_shaping: bool = False
    reference_scaling: ReferenceScaling | None = None
    step_cache: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelDefaults:
    """What is filled in for what a client did not say."""

    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    strength: float = 0.8


@dataclass(frozen=True, kw_only=True)
class Companion:
    """Weights that a mode needs beside the model's own; brought into memory when the mode is first asked for.

    source, revision: as in `ModelCard`. file: the one of its safetensors files that is meant; None: a diffusers folder.
    conditioning_scale: how strongly a ControlNet is followed where a request does not say it; None: its pipeline's own.
    guidance_scale: the mode's default, where it is not the model's.
    """

    mode: Mode
    source: str
    revision: str | None = None
    file: str | None = None
    conditioning_scale: float | None = None
    guidance_scale: float | None = None


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A loadable checkpoint under the id clients use. source: a local directory or a hub id, revision its commit.

    precision: how its weights are kept in memory: as the engine's number format says, or quantised while they load (a
    checkpoint that is quantised already says so itself). companions: at most one a mode. memory_bytes: that its weights
    take on a device that holds all of them, without companions; None where that is not known. licence: of the weights,
    for people. loras: names of those that a request may ask for with it, sorted. served_with: ids of built-in models
    that are on offer wherever it is.
    """

    id: str
    family: str
    source: str
    revision: str | None
    title: str
    capabilities: Capabilities
    defaults: ModelDefaults
    precision: Precision = "native"
    companions: tuple[Companion, ...] = ()
    memory_bytes: int | None = None
    licence: str | None = None
    loras: tuple[str, ...] = ()
    served_with: tuple[str, ...] = ()

    def companion(self, mode: Mode) -> Companion | None:
        """What the mode needs beside the model's own weights."""
        return next((companion for companion in self.companions if companion.mode is mode), None)
