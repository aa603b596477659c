"""The models file: TOML in which the person who runs the server gives models ids and settings of their own."""

import difflib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from pydantic_core import ErrorDetails

from danqing.config.loading import InvalidSettings
from danqing.config.values import without_password
from danqing.core.capabilities import Companion, Precision
from danqing.core.model_entries import ChosenDefaults, ModelEntry
from danqing.core.model_names import DEFAULT, is_hub_id
from danqing.core.resolve import MAX_CONDITIONING, MAX_GUIDANCE
from danqing.core.types import Mode

DEFAULT_FILE = Path("models.toml")
MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    """Nothing that is not named, and no text where a number is meant."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Defaults(_Strict):
    width: PositiveInt | None = None
    height: PositiveInt | None = None
    num_inference_steps: PositiveInt | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None = None
    strength: Annotated[float, Field(ge=0, le=1)] | None = None


class _Companion(_Strict):
    source: Text
    revision: Text | None = None
    file: Annotated[str, Field(pattern=r"^([\w-][\w.-]*/)*[\w-][\w.-]*\.safetensors$")] | None = None
    conditioning_scale: Annotated[float, Field(ge=0, le=MAX_CONDITIONING)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None = None


class _Companions(_Strict):
    controlnet: _Companion | None = None
    fill: _Companion | None = None


class _Model(_Strict):
    source: Text | None = None
    revision: Text | None = None
    title: Text | None = None
    precision: Precision | None = None
    defaults: _Defaults = _Defaults()
    companions: _Companions = _Companions()


class _File(_Strict):
    models: dict[str, _Model] = {}


def load_models_file(path: Path | None, *, default: Path = DEFAULT_FILE) -> tuple[ModelEntry, ...]:
    """The entries in their order. path: None for the default one, which need not be there.

    Folders in it are meant as seen from the file, and must exist. Raises InvalidSettings, whose message names the file,
    the entry and the field. Blocking.
    """
    if path is None:
        if not default.exists():
            return ()
        path = default
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InvalidSettings(f"{path} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise InvalidSettings(f"{path} is not valid TOML: {exc}.") from exc
    try:
        models = _File.model_validate(content).models
    except ValidationError as exc:
        lines = (_explain(problem) for problem in exc.errors(include_url=False))
        raise InvalidSettings("\n".join(f"{path}: {line}" for line in lines)) from exc
    return tuple(_entry(path, model_id, model) for model_id, model in models.items())


def _entry(path: Path, model_id: str, model: _Model) -> ModelEntry:
    place = f"{path}: [models.{model_id}]"
    if model_id == DEFAULT or not MODEL_ID.fullmatch(model_id):
        raise InvalidSettings(
            f"{place}: an id has letters, digits, '.', '_' and '-', begins with a letter or digit, is not {DEFAULT}."
        )
    companions = (
        Companion(
            mode=mode,
            source=_source(f"{place} companions.{mode}", path, said.source, said.revision),
            revision=said.revision,
            file=said.file,
            conditioning_scale=said.conditioning_scale,
            guidance_scale=said.guidance_scale,
        )
        for mode, said in ((Mode.CONTROLNET, model.companions.controlnet), (Mode.FILL, model.companions.fill))
        if said
    )
    return ModelEntry(
        place=place,
        id=model_id,
        source=_source(place, path, model.source, model.revision) if model.source else None,
        revision=model.revision,
        title=model.title,
        precision=model.precision,
        defaults=ChosenDefaults(**model.defaults.model_dump()),
        companions=tuple(companions),
    )


def _source(place: str, path: Path, source: str, revision: str | None) -> str:
    """The absolute folder, or the hub id."""
    folder = (path.absolute().parent / Path(source).expanduser()).resolve()
    if folder.is_dir():
        if revision:
            raise InvalidSettings(f"{place}: revision goes with a hub id, and {source} is a folder.")
        return str(folder)
    if is_hub_id(source):
        return source
    raise InvalidSettings(
        f"{place}: source is {without_password(source)!r}, which is neither a folder here nor a hub id."
    )


def _explain(problem: ErrorDetails) -> str:
    """One line: where, what is wrong, what is allowed."""
    match problem["loc"]:
        case ("models", model_id, *fields):
            place, field = f"[models.{model_id}]", ".".join(map(str, fields))
        case loc:
            place, field = "", ".".join(map(str, loc))
    given = repr(problem["input"])
    if problem["type"] == "extra_forbidden":
        allowed = _allowed(field.split(".")[:-1] if place else None)
        said = f"{field} is not known{_near(field.rpartition('.')[2], allowed)}"
    elif problem["type"] == "literal_error":
        said = f"{field} is {given}{_near(str(problem['input']), get_args(Precision))}"
    elif problem["type"] == "missing":
        said = f"{field} is missing."
    elif problem["type"] in ("model_type", "dict_type"):
        said = f"{field or 'this'} is {given}, but should be a table."
    elif field.endswith(".file"):
        said = f"{field} is {given}, but should be a .safetensors file in the source."
    else:
        said = f"{field} is {given}, but {problem['msg'].removeprefix('Input ').removeprefix('String ')}."
    return f"{place}: {said}" if place else said


def _allowed(fields: list[str] | None) -> list[str]:
    """What may stand at that place of an entry; None: at the top of the file."""
    if fields is None:
        return list(_File.model_fields)
    match fields:
        case ["defaults"]:
            return list(_Defaults.model_fields)
        case ["companions"]:
            return list(_Companions.model_fields)
        case ["companions", _]:
            return list(_Companion.model_fields)
        case _:
            return list(_Model.model_fields)


def _near(name: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    return f"{f'; did you mean {near[0]}?' if near else '.'} There is: {', '.join(allowed)}."
