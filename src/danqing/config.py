"""Every setting: its meaning, unit, default, seed alias and reader. The only module that reads the environment."""

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import dotenv
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

PREFIX = "DANQING_"
ENV_FILE = Path(".env")


class InvalidSettings(Exception):
    """A setting has a value that it cannot have, or an unknown name. The message is for the person who set it."""


@dataclass(frozen=True, kw_only=True)
class Variable:
    """How a setting is found and who uses it. alias: the plain name that a seed's `.env` uses for it."""

    read_by: str
    alias: str | None = None
    unit: str = ""


def _split(text: object) -> object:
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


def _dtype_name(text: object) -> object:
    """`torch.bfloat16` and `BFLOAT16` mean bfloat16: existing `.env` files write it in each way."""
    return text.lower().removeprefix("torch.") if isinstance(text, str) else text


def _parse_dialect_port(text: object) -> object:
    if not isinstance(text, str):
        return text
    dialect, _, port = text.partition("=")
    return {"dialect": dialect, "port": port}


class DialectPort(BaseModel):
    """A further port that speaks exactly one dialect; written `turbo=5000`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dialect: str = Field(min_length=1)
    port: int = Field(ge=0, le=65535)


class Settings(BaseModel):
    """All settings of one server. A field `x` is set by `DANQING_X`; see `load_settings` for what goes before what."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: Annotated[str, Variable(alias="HOST", read_by="wiring: listeners")] = "127.0.0.1"
    """Address that every port is opened on; 127.0.0.1 is reached from this machine only, 0.0.0.0 from everywhere."""

    port: Annotated[int, Field(ge=0, le=65535), Variable(alias="PORT", read_by="wiring: listeners")] = 8000
    """Port that answers every dialect; 0 takes a free one."""

    listen: Annotated[
        tuple[Annotated[DialectPort, BeforeValidator(_parse_dialect_port)], ...],
        BeforeValidator(_split),
        Variable(read_by="wiring: listeners"),
    ] = ()
    """Further ports that speak one dialect each, such as `turbo=5000,genserve=12411`."""

    debug: Annotated[bool, Variable(alias="DEBUG", read_by="logs")] = False
    """Writes log lines of level debug, whatever the log level says. Never changes what clients are told."""

    log_format: Annotated[Literal["auto", "console", "json"], Variable(read_by="logs")] = "auto"
    """Shape of log lines; auto is console on a terminal and json otherwise."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Variable(read_by="logs")] = "info"
    """Least serious log lines that are written."""

    data_dir: Annotated[Path, Variable(read_by="wiring: lock, store")] = Path("danqing-data")
    """Folder for everything that the server writes; one server at a time."""

    output_dir: Annotated[Path | None, Variable(alias="OUTPUT_DIR", read_by="wiring: artifacts")] = None
    """Folder for the pictures; not set: `outputs` in the data dir."""

    model: Annotated[str, Field(min_length=1), Variable(alias="MODEL_NAME", read_by="wiring: catalogue")] = "sample"
    """Model that is served: an id of `danqing models`, a Hugging Face hub id, or a diffusers folder."""

    dtype: Annotated[
        Literal["auto", "bfloat16", "float16", "float32"],
        BeforeValidator(_dtype_name),
        Variable(alias="MODEL_TORCH_DTYPE", read_by="wiring: engine"),
    ] = "auto"
    """Number format of the weights: bfloat16, float16, float32; auto is bfloat16 on a GPU and float32 on a CPU."""

    attention: Annotated[Literal["auto", "native", "flash", "flash3"], Variable(read_by="wiring: engine")] = "auto"
    """Attention: native is PyTorch's, flash and flash3 need their packages; auto is the best that the GPU can run."""

    cuda_available: Annotated[bool, Variable(alias="CUDA_AVAILABLE", read_by="wiring: devices")] = True
    """Whether GPUs may be used, if there are any."""

    gpu_device_id: Annotated[int | None, Field(ge=0), Variable(alias="GPU_DEVICE_ID", read_by="wiring: devices")] = None
    """The only GPU to use, counted from 0 as CUDA does; not set: one worker on every visible GPU."""

    compile_model: Annotated[bool, Variable(alias="ENABLE_MODEL_COMPILE", read_by="wiring: engine")] = False
    """Compiles the model while it loads: a later start, quicker pictures."""

    cpu_offload: Annotated[bool, Variable(alias="ENABLE_CPU_OFFLOAD", read_by="wiring: engine")] = False
    """Keeps the parts of the model that do not run just now in main memory: less GPU memory, slower pictures."""

    max_queue_size: Annotated[
        int, Field(ge=1), Variable(alias="MAX_QUEUE_SIZE", read_by="wiring: studio", unit="jobs")
    ] = 100
    """Jobs that may wait; one more is refused."""

    task_timeout_s: Annotated[
        float, Field(gt=0), Variable(alias="TASK_TIMEOUT", read_by="wiring: dispatcher", unit="seconds")
    ] = 300.0
    """Time that one attempt at a job may take; then the job fails."""

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
        """Name and value of every setting as plain data, secrets replaced by stars."""
        return self.model_dump(mode="json")


def variable_of(field: str) -> Variable:
    """How the setting of this name is found."""
    return next(entry for entry in Settings.model_fields[field].metadata if isinstance(entry, Variable))


def load_settings(
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path = ENV_FILE,
) -> Settings:
    """The settings in force. First of these that says something: overrides by field name, `DANQING_X`, alias `X`.

    Each name is looked for in the environment, then in env_file. An empty value says nothing, in either. Unknown
    variables are fine unless they begin with `DANQING_`. Raises InvalidSettings.
    """
    variables = _variables(os.environ if environ is None else environ, env_file)
    values: dict[str, object] = {}
    for field in Settings.model_fields:
        names = [PREFIX + field.upper(), variable_of(field).alias]
        found = next((variables[name] for name in names if name in variables), None)
        if found is not None:
            values[field] = found
    values.update(overrides or {})
    try:
        return Settings.model_validate(values)
    except ValidationError as exc:
        raise InvalidSettings(_explain(exc)) from exc


def cuda_visible_devices(environ: Mapping[str, str] | None = None) -> str | None:
    """CUDA's own list of the GPUs that a process may see (empty: none), or None for all. No setting of ours."""
    return (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES")


def _variables(environ: Mapping[str, str], env_file: Path) -> dict[str, str]:
    """All that have a value; those of the environment go before those of the file."""
    try:
        from_file = dotenv.dotenv_values(env_file, interpolate=False)
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidSettings(f"{env_file} cannot be read as UTF-8 text.") from exc
    _refuse_unknown({*from_file, *environ})
    return {name: value for variables in (from_file, environ) for name, value in variables.items() if value}


def _refuse_unknown(names: Iterable[str]) -> None:
    known = {field.upper() for field in Settings.model_fields}
    for name in sorted(names):
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in known:
            near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
            hint = f" Did you mean {PREFIX}{near[0]}?" if near else " See docs/configuration.md for all of them."
            raise InvalidSettings(f"{name} is not a setting.{hint}")


def _explain(error: ValidationError) -> str:
    """One line for each wrong setting, without the value of a secret."""
    lines: list[str] = []
    for problem in error.errors(include_url=False, include_context=False):
        field = str(problem["loc"][0])
        names = PREFIX + field.upper()
        if field in Settings.model_fields and (alias := variable_of(field).alias):
            names += f" ({alias})"
        secret = field in Settings.model_fields and Settings.model_fields[field].annotation is SecretStr
        shown = "" if secret else f": {problem['input']!r}"
        lines.append(f"{names}{shown}: {problem['msg']}.")
    return "\n".join(lines)
