"""GenServe's wire models, in the vendor's field order and spelling.

What its document leaves open, and what is done here:
- Unknown fields of a request are ignored, as the vendor's server did. null, and in a form an empty field, mean "not
  given"; so does an empty text, but for the prompt.
- An integer is a whole JSON number, such as 512 or 512.0; true and "512" are refused. A form's numbers are text.
- Seeds go from 0 to 2**63 - 1, priorities are 32-bit integers; sizes and steps are what the model can do.
- The defaults are the document's, whichever model is served. `cfg` of a model without guidance may only be the default,
  and has no effect. `strength` belongs to img2img (default 0.8), to fill, where the default is 1: what is white in the
  mask is made from nothing, and to controlnet, where it is 1 too: the input image does not show. In text2img it has no
  effect.
- `loras` is ours: a list of names and scales, in a form its JSON text. So is `step_cache`, from 0 (off) to 1: how large
  a change may be for a step to be cut short; only models that declare it take it.
- `control_preprocess` and `controlnet_conditioning_scale` are ours: how the control image is meant, and how strongly it
  is followed. Modes other than controlnet refuse them.
- A picture that its mode does not use is checked and then ignored, which a header says.
- An error has a new `task_id` unless its task was accepted; `model_id` and `mode` are the client's if they can be read.
- `workers` of the status is ours: how each worker runs the models that it has loaded.
- `elapsed_time` is how long the picture was made, without waiting.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Json, JsonValue

DEFAULT_MODEL = "flux1-dev"
DEFAULT_MODE = "text2img"
DEFAULT_SIDE = 1024  # pixels
DEFAULT_STEPS = 50
DEFAULT_CFG = 3.5
DEFAULT_SEED = 42
DEFAULT_STRENGTH = 0.8
MAX_CFG = 100
MAX_CONDITIONING = 2
MAX_LORAS = 8
MAX_LORA_SCALE = 4
MIN_PRIORITY, MAX_PRIORITY = -(2**31), 2**31 - 1
SEEDS = 2**63  # 0 is the first

ModeName = Literal["text2img", "img2img", "fill", "controlnet"]
PreprocessName = Literal["canny"]
ImageName = Literal["input_image", "mask_image", "control_image"]
IMAGE_NAMES: tuple[ImageName, ...] = ("input_image", "mask_image", "control_image")
INTEGERS = frozenset({"height", "width", "num_inference_steps", "seed", "priority"})
FLOATS = frozenset({"cfg", "strength", "controlnet_conditioning_scale", "step_cache"})
JSON_TEXTS = frozenset({"loras"})  # in a form

_EXAMPLE: dict[str, JsonValue] = {
    "prompt": "A beautiful sunset over mountains",
    "mode": "text2img",
    "height": 1024,
    "width": 1024,
    "num_inference_steps": 50,
    "cfg": 3.5,
    "seed": 42,
}


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _given(value: object) -> object:
    return None if value == "" else value


_WHOLE = BeforeValidator(_whole)  # after a Field in Annotated, else OpenAPI does not show the field's range
_Int = Annotated[int, _WHOLE]
_EMPTY_IS_NONE = BeforeValidator(_given)


class LoraEntry(BaseModel):
    """name: of a file in the server's folder, without `.safetensors`. scale: 1 is as it was trained."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    scale: float = Field(default=1.0, ge=-MAX_LORA_SCALE, le=MAX_LORA_SCALE, allow_inf_nan=False)


Loras = Annotated[list[LoraEntry], Field(max_length=MAX_LORAS)]


class Wanted(BaseModel):
    """What both ways of asking share. height, width: pixels."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, json_schema_extra={"examples": [_EXAMPLE]})

    prompt: str = Field(min_length=1, description="提示词")
    model_id: str | None = Field(default=DEFAULT_MODEL, description="模型ID")
    mode: Annotated[ModeName | None, _EMPTY_IS_NONE] = Field(default=DEFAULT_MODE, description="生成模式")
    height: _Int | None = Field(default=DEFAULT_SIDE, description="图片高度")
    width: _Int | None = Field(default=DEFAULT_SIDE, description="图片宽度")
    num_inference_steps: _Int | None = Field(default=DEFAULT_STEPS, description="推理步数")
    cfg: float | None = Field(
        default=DEFAULT_CFG,
        ge=0,
        le=MAX_CFG,
        allow_inf_nan=False,
        description="引导强度 (fill未指定且模型有专用权重时, 使用该权重的默认值, 如FLUX.1-Fill-dev: 30)",
    )
    seed: Annotated[int, Field(ge=0, lt=SEEDS), _WHOLE] | None = Field(default=DEFAULT_SEED, description="随机种子")
    priority: Annotated[int, Field(ge=MIN_PRIORITY, le=MAX_PRIORITY), _WHOLE] | None = Field(
        default=0, description="任务优先级"
    )
    strength: float | None = Field(
        default=None, ge=0, le=1, allow_inf_nan=False, description="img2img强度 (img2img: 0.8, fill, controlnet: 1.0)"
    )
    control_preprocess: Annotated[PreprocessName | None, _EMPTY_IS_NONE] = Field(
        default=None, description="canny: 由服务器从照片提取边缘; null: 控制图片按原样使用 (扩展字段)"
    )
    controlnet_conditioning_scale: float | None = Field(
        default=None, ge=0, le=MAX_CONDITIONING, allow_inf_nan=False, description="ControlNet强度 (扩展字段)"
    )
    loras: Loras | None = Field(default=None, description="LoRA列表: name与scale (扩展字段)")
    step_cache: float | None = Field(
        default=None, ge=0, le=1, allow_inf_nan=False, description="步骤缓存阈值, 0为关闭 (扩展字段)"
    )


class GenerateRequest(Wanted):
    """Body of `POST /generate`. Pictures: base64 text or data URLs."""

    input_image: str | None = Field(default=None, description="输入图片(base64)")
    mask_image: str | None = Field(default=None, description="蒙版图片(base64)")
    control_image: str | None = Field(default=None, description="控制图片(base64)")


class GenerateForm(Wanted):
    """Body of `POST /generate/img2img`, for its description only: `forms.py` reads it."""

    input_image: str | None = Field(default=None, description="输入图片文件", json_schema_extra={"format": "binary"})
    mask_image: str | None = Field(default=None, description="蒙版图片文件", json_schema_extra={"format": "binary"})
    control_image: str | None = Field(default=None, description="控制图片文件", json_schema_extra={"format": "binary"})
    loras: Json[Loras] | None = Field(default=None, description="LoRA列表的JSON文本 (扩展字段)")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GenerationResult(_Answer):
    """Every answer of the two endpoints, and every error. elapsed_time: seconds. image_base64: a PNG."""

    success: bool
    task_id: str
    image_base64: str | None
    error: str | None
    elapsed_time: float
    gpu_id: str | None
    model_id: str
    mode: str


class ConcurrentManager(_Answer):
    """Worker processes, and how often one was started again; tasks that wait."""

    alive_processes: int
    dead_processes: int
    total_restarts: int
    global_queue_size: int


class LoadedModel(_Answer):
    """A model in a worker's memory, and how it is run there: see `core/types.ModelStatus`."""

    model_id: str
    on_device: bool
    placement: str
    precision: str
    dtype: str
    attention: str
    compiled: bool
    vae: str
    step_cache: bool


class WorkerEntry(_Answer):
    """state: starting, ready, busy, restarting or broken. device: as torch names it; None while it is not known."""

    worker_id: str
    state: str
    device: str | None
    device_name: str | None
    prompt_cache_bytes: int | None
    models: list[LoadedModel]


class ServiceStatus(_Answer):
    """The vendor knows running only. starting: no model is loaded yet; failed: none can be loaded.

    workers: ours; what is in force on each.
    """

    status: Literal["running", "starting", "failed", "draining"]
    concurrent_manager: ConcurrentManager
    workers: list[WorkerEntry]


class ModelEntry(_Answer):
    """Processes: of workers that serve the model; available are those that have it loaded."""

    model_id: str
    model_name: str
    description: str
    total_gpu_processes: int
    available_gpu_processes: int
    supported_features: list[str]
