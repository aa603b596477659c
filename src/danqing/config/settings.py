"""Every setting: its meaning, unit, default, aliases and reader."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr

from danqing.config.shared_parts import SharedParts
from danqing.config.values import (
    DialectPort,
    ModelAlias,
    Variable,
    check_origin,
    dtype_name,
    parse_dialect_port,
    parse_model_alias,
    parse_public_url,
    split_list,
    strip_blanks,
    without_password,
)
from danqing.core.capabilities import Precision


class Settings(SharedParts):
    """All settings of one server. A field `x` is set by `DANQING_X`; see `load_settings` for what goes before what."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: Annotated[str, Variable(aliases=("HOST",), read_by="wiring: listeners")] = "127.0.0.1"
    """Address that every port is opened on; 127.0.0.1 is reached from this machine only, 0.0.0.0 from everywhere."""

    port: Annotated[int, Field(ge=0, le=65535), Variable(aliases=("PORT",), read_by="wiring: listeners")] = 8000
    """Port that answers every dialect; 0 takes a free one."""

    listen: Annotated[
        tuple[Annotated[DialectPort, BeforeValidator(parse_dialect_port)], ...],
        BeforeValidator(split_list),
        Variable(read_by="wiring: listeners"),
    ] = ()
    """Further ports that speak one dialect each, such as `turbo=5000,genserve=12411`."""

    allow_public: Annotated[bool, Variable(read_by="cli: serve; wiring: gate")] = False
    """Lets other machines use the server although it lists no keys."""

    public_url: Annotated[str | None, BeforeValidator(parse_public_url), Variable(read_by="dialects")] = None
    """Address by which clients find the server, such as `https://a.example/`; not set: the one each request came to."""

    enable_auth: Annotated[bool | None, Variable(aliases=("API_ENABLE_AUTH",), read_by="wiring: gate")] = None
    """Whether requests need a key; not set: they do as soon as one is configured."""

    admin_key: Annotated[
        SecretStr | None, BeforeValidator(strip_blanks), Variable(aliases=("API_ADMIN_KEY",), read_by="wiring: gate")
    ] = None
    """Key that may see and delete everybody's pictures."""

    allowed_keys: Annotated[
        tuple[SecretStr, ...],
        BeforeValidator(split_list),
        Variable(aliases=("API_ALLOWED_KEYS",), read_by="wiring: gate"),
    ] = ()
    """Keys of ordinary callers, each of which sees its own pictures; none, with `API_ENABLE_AUTH=true`: any key."""

    api_key: Annotated[
        SecretStr | None, BeforeValidator(strip_blanks), Variable(aliases=("API_KEY",), read_by="wiring: gate")
    ] = None
    """One more key of an ordinary caller."""

    allowed_origins: Annotated[
        tuple[Annotated[str, AfterValidator(check_origin)], ...],
        BeforeValidator(split_list),
        Variable(read_by="wiring: gate"),
    ] = ()
    """Origins whose pages may use the server too, as `https://a.example`; `null`: opened files, any sandboxed page."""

    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(split_list), Variable(read_by="wiring: gate")] = ()
    """Host names, beside this machine's own, that the server answers to; none: any, or none on this machine only."""

    environment: Annotated[str, Field(min_length=1), Variable(aliases=("ENVIRONMENT",), read_by="dialects")] = "dev"
    """What this installation is called in `/health`."""

    debug: Annotated[bool, Variable(aliases=("DEBUG",), read_by="logs")] = False
    """Writes log lines of level debug, whatever the log level says. Never changes what clients are told."""

    log_format: Annotated[Literal["auto", "console", "json", "line"], Variable(read_by="logs")] = "auto"
    """Shape of log lines: console, json, line (`time - name - LEVEL - text`); auto: json, or console on a terminal."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Variable(read_by="logs")] = "info"
    """Least serious log lines that are written."""

    log_prompts: Annotated[bool, Variable(read_by="dialects")] = False
    """Whether log lines may have the beginning of a prompt."""

    metrics_port: Annotated[int | None, Field(ge=0, le=65535), Variable(read_by="wiring: measuring")] = None
    """Port that answers only `/metrics`, without a key; not set: there is `/metrics` on the shared port alone."""

    metrics_host: Annotated[str, Field(min_length=1), Variable(read_by="wiring: measuring")] = "127.0.0.1"
    """Address that the metrics port is opened on; whoever reaches it may read the figures."""

    otel: Annotated[bool, Variable(read_by="wiring: measuring")] = False
    """Sends traces to where OpenTelemetry's own `OTEL_…` variables say; needs the extra `otel`."""

    data_dir: Annotated[Path, Variable(read_by="wiring: lock, store")] = Path("danqing-data")
    """Folder for everything that the server writes; one server at a time."""

    output_dir: Annotated[Path | None, Variable(aliases=("OUTPUT_DIR",), read_by="wiring: artifacts")] = None
    """Folder for the pictures; not set: `outputs` in the data dir."""

    model: Annotated[
        str, Field(min_length=1), Variable(aliases=("MODEL_NAME", "QWEN_MODEL_DIR"), read_by="wiring: catalogue")
    ] = "sample"
    """Model that clients get who name none: an id of `danqing models`, a Hugging Face hub id, or a diffusers folder."""

    models: Annotated[tuple[str, ...], BeforeValidator(split_list), Variable(read_by="wiring: catalogue")] = ()
    """Further models that are served, each named as `DANQING_MODEL` is, such as `z-image-turbo,flux1-dev`."""

    models_file: Annotated[Path | None, Variable(read_by="wiring: catalogue")] = None
    """TOML file with models under ids of your own; not set: `models.toml` in the working folder, if there is one."""

    lora_dir: Annotated[Path | None, Variable(read_by="wiring: catalogue, engine")] = None
    """Folder with LoRAs, `.safetensors` files; a sub-folder named after a family or model is for that one only."""

    precision: Annotated[Precision, Variable(read_by="wiring: catalogue")] = "native"
    """How models that do not say it keep weights: native, sdnq-uint4, sdnq-int8, torchao-int8, torchao-fp8."""

    model_aliases: Annotated[
        tuple[Annotated[ModelAlias, BeforeValidator(parse_model_alias)], ...],
        BeforeValidator(split_list),
        Variable(read_by="wiring: catalogue"),
    ] = tuple(
        ModelAlias(pattern=pattern, model=model)
        for pattern, model in (
            ("gpt-image-*", "default"),
            ("chatgpt-image-*", "default"),
            ("dall-e-*", "default"),
            ("flux1-dev", "default"),
            ("FLUX.1-dev", "flux1-dev"),
            ("qwen-image-edit*", "default"),
            ("z-image-turbo-uint4", "default"),
            ("z-image-turbo-int8", "default"),
        )
    )
    """Names that clients may use for a model; a served id goes first; `default` is `DANQING_MODEL`'s."""

    dtype: Annotated[
        Literal["auto", "bfloat16", "float16", "float32"],
        BeforeValidator(dtype_name),
        Variable(aliases=("MODEL_TORCH_DTYPE",), read_by="wiring: engine"),
    ] = "auto"
    """Number format of the weights: bfloat16, float16, float32; auto: bfloat16 where the device multiplies it."""

    attention: Annotated[
        Literal["auto", "native", "cudnn", "flash", "flash3", "matmul"], Variable(read_by="wiring: engine")
    ] = "auto"
    """Attention kernel: native, cudnn (PyTorch's), flash, flash3 (packages), matmul (CPUs); auto: the quickest."""

    cuda_available: Annotated[bool, Variable(aliases=("CUDA_AVAILABLE",), read_by="wiring: devices")] = True
    """Whether GPUs may be used, if there are any."""

    gpu_device_id: Annotated[
        int | None, Field(ge=0), Variable(aliases=("GPU_DEVICE_ID",), read_by="wiring: devices")
    ] = None
    """The only GPU to use, counted from 0 as CUDA does; not set: one worker on every visible GPU."""

    device_map: Annotated[
        Literal["balanced", "cuda"] | None, Variable(aliases=("DEVICE_MAP",), read_by="wiring: devices")
    ] = None
    """`cuda`: the first GPU only; not set: a worker on each; `balanced`: so, or on several where one is too small."""

    workers_per_device: Annotated[int, Field(ge=1, le=64), Variable(read_by="wiring: devices", unit="workers")] = 1
    """Worker processes on each device, each with its own models and an equal share of the memory: for small models."""

    compile_model: Annotated[
        bool | Literal["auto"], Variable(aliases=("ENABLE_MODEL_COMPILE",), read_by="wiring: engine")
    ] = "auto"
    """Compiles models while they load: a later start, quicker pictures; auto: large ones on NVIDIA GPUs."""

    cpu_offload: Annotated[bool, Variable(aliases=("ENABLE_CPU_OFFLOAD",), read_by="wiring: engine")] = False
    """Keeps the parts of the model that do not run just now in main memory: less GPU memory, slower pictures."""

    device_memory_gb: Annotated[
        float | None, Field(gt=0), Variable(read_by="wiring: engine, devices", unit="GB (10^9 bytes)")
    ] = None
    """Memory that is used of each GPU at most, or of the machine without one; not set: all there is."""

    upscaler: Annotated[str, Field(min_length=1), Variable(read_by="wiring: engine")] = "animevideov3"
    """What enlarges pictures: animevideov3, x4plus, x4plus-anime, or a `.param`, `.safetensors` or `.pth` file."""

    picture_texts: Annotated[bool, Variable(read_by="wiring: engine")] = True
    """Whether picture files tell how they were made, the prompt included: texts in PNG, EXIF in JPEG and WebP."""

    batch_pictures: Annotated[int, Field(ge=1), Variable(read_by="wiring: workers", unit="pictures")] = 4
    """Waiting pictures of one kind and size that are made together, at most; 1 makes each alone."""

    batch_pixels: Annotated[int, Field(ge=1), Variable(read_by="wiring: workers", unit="pixels")] = 1024 * 1024
    """Size up to which pictures are made together, all of them in all: above that it saves no time."""

    max_queue_size: Annotated[
        int, Field(ge=1), Variable(aliases=("MAX_QUEUE_SIZE",), read_by="wiring: studio", unit="jobs")
    ] = 100
    """Jobs that may wait; one more is refused."""

    max_queue_per_owner: Annotated[int | None, Field(ge=1), Variable(read_by="wiring: studio", unit="jobs")] = None
    """Jobs of one owner (one key) that may wait; one more gets status 429. Not set: as many as there is room for."""

    max_running_per_owner: Annotated[int | None, Field(ge=1), Variable(read_by="wiring: queue", unit="jobs")] = None
    """Jobs of one owner that are made at a time; his others wait, and other owners' go on. Not set: any number."""

    max_priority: Annotated[int | None, Variable(read_by="wiring: studio")] = None
    """Highest `priority` that a caller may ask for who sees only his own jobs; more is refused. Not set: any."""

    model_passes: Annotated[int, Field(ge=0), Variable(read_by="wiring: queue", unit="jobs")] = 4
    """Jobs of a model that is loaded which may go, in a row, before one whose model has to be loaded first."""

    rate_limit: Annotated[
        float | None, Field(ge=0), Variable(read_by="wiring: admission", unit="megapixel-steps a minute")
    ] = None
    """Work that one caller may ask for: megapixels times steps. 0: any; not set: 6000, or any on this machine only."""

    rate_burst: Annotated[float | None, Field(gt=0), Variable(read_by="wiring: admission", unit="megapixel-steps")] = (
        None
    )
    """Work that a caller may ask for at once, after a rest; not set: five minutes' worth."""

    daily_pictures: Annotated[int | None, Field(ge=1), Variable(read_by="wiring: admission", unit="pictures")] = None
    """Pictures that one caller may have made in 24 hours; not set: any number."""

    quota_gb: Annotated[float | None, Field(gt=0), Variable(read_by="wiring: admission", unit="GB (10^9 bytes)")] = None
    """What the pictures of one caller may take before no more are made for him; not set: all there is."""

    retention_days: Annotated[float | None, Field(gt=0), Variable(read_by="wiring: janitor", unit="days")] = None
    """How long jobs that have ended are kept, with their pictures, an hour at least; not set: for ever."""

    retention_gb: Annotated[float | None, Field(gt=0), Variable(read_by="wiring: janitor", unit="GB (10^9 bytes)")] = (
        None
    )
    """What all pictures may take; beyond, the oldest go, with their jobs. Not set: all there is."""

    task_timeout_s: Annotated[
        float, Field(gt=0), Variable(aliases=("TASK_TIMEOUT",), read_by="wiring: dispatcher", unit="seconds")
    ] = 300.0
    """Time that an attempt may take for each job made together, waiting to be enlarged left out; then the job fails."""

    cancel_deadline_s: Annotated[float, Field(gt=0), Variable(read_by="wiring: dispatcher", unit="seconds")] = 60.0
    """Time that a worker has to drop a cancelled job; then its process is replaced. Longer than a step should take."""

    cancel_abandoned: Annotated[bool, Variable(read_by="wiring: studio")] = True
    """Whether a job is cancelled when the client that waits for it in its request is gone, and nobody else wants it."""

    idempotency_hours: Annotated[float, Field(gt=0, le=8760), Variable(read_by="dialects", unit="hours")] = 24.0
    """How long an `Idempotency-Key` counts, from the first request with it."""

    request_timeout_s: Annotated[float, Field(gt=0), Variable(read_by="dialects", unit="seconds")] = 600.0
    """Time that a request which is answered with its pictures waits, for each of them; then its jobs are cancelled."""

    max_attempts: Annotated[int, Field(ge=1), Variable(read_by="wiring: dispatcher", unit="attempts")] = 3
    """Tries at a job whose worker process is lost; then the job fails."""

    drain_deadline_s: Annotated[float, Field(ge=0), Variable(read_by="wiring: shutdown", unit="seconds")] = 30.0
    """How long a stopping server lets running jobs go on; what is left is made after the next start."""

    cpu_threads: Annotated[int | None, Field(ge=1), Variable(read_by="wiring: engine", unit="threads")] = None
    """Processor threads that each worker computes with; not set: all cores but one."""

    @property
    def outputs(self) -> Path:
        """Where pictures go, absolute."""
        return (self.output_dir or self.data_dir / "outputs").absolute()

    def masked(self) -> dict[str, object]:
        """Name and value of every setting as plain data, secrets replaced by stars, those in addresses too."""
        shown = self.model_dump(mode="json")
        return {name: without_password(value) if isinstance(value, str) else value for name, value in shown.items()}


def variable_of(field: str) -> Variable:
    """How the setting of this name is found."""
    return next(entry for entry in Settings.model_fields[field].metadata if isinstance(entry, Variable))
