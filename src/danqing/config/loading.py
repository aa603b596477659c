"""Reads the settings; the only module that reads the environment."""

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import dotenv
from pydantic import SecretStr, ValidationError

from danqing.config.settings import Settings, variable_of

PREFIX = "DANQING_"
ENV_FILE = Path(".env")
ZIMAGES_ENV_FILE = Path("apps/api/.env")  # where the original of the zimage dialect has its variables


class InvalidSettings(Exception):
    """A setting has a value that it cannot have, or an unknown name. The message is for the person who set it."""


def load_settings(
    overrides: Mapping[str, object] | None = None,
    *,
    defaults: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    env_file: Path = ENV_FILE,
) -> Settings:
    """The settings in force. First of these that says something: overrides by field name, `DANQING_X`, alias `X`,
    defaults by field name, the setting's own default.

    Each name is looked for in the environment, then in the `env_files`. An empty value says nothing, in any. Unknown
    variables are fine unless they begin with `DANQING_`. Raises InvalidSettings.
    """
    variables = _variables(os.environ if environ is None else environ, env_files(env_file))
    values: dict[str, object] = dict(defaults or {})
    for field in Settings.model_fields:
        names = [PREFIX + field.upper(), *variable_of(field).aliases]
        found = next((variables[name] for name in names if name in variables), None)
        if found is not None:
            values[field] = found
    values.update(overrides or {})
    try:
        return Settings.model_validate(values)
    except ValidationError as exc:
        raise InvalidSettings(_explain(exc)) from exc


def env_files(env_file: Path = ENV_FILE) -> tuple[Path, ...]:
    """The files with variables that are there: env_file and, below its folder, zimage's. The first goes before."""
    return tuple(file for file in (env_file, env_file.parent / ZIMAGES_ENV_FILE) if _is_there(file))


def cuda_visible_devices(environ: Mapping[str, str] | None = None) -> str | None:
    """CUDA's own list of the GPUs that a process may see (empty: none), or None for all. No setting of ours."""
    return (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES")


def _is_there(file: Path) -> bool:
    """As a file, or as the pipe of a program that keeps secrets."""
    return os.path.exists(file) and not os.path.isdir(file)


def _variables(environ: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    """All that have a value; those of the environment go before those of the files."""
    sources = [*map(_in_file, reversed(files)), environ]
    _refuse_unknown({name for variables in sources for name in variables})
    return {name: value for variables in sources for name, value in variables.items() if value}


def _in_file(file: Path) -> Mapping[str, str | None]:
    try:
        return dotenv.dotenv_values(file, interpolate=False)
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidSettings(f"{file} cannot be read as UTF-8 text.") from exc


def _refuse_unknown(names: Iterable[str]) -> None:
    known = {field.upper() for field in Settings.model_fields}
    for name in sorted(names):
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in known:
            near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
            hint = f" Did you mean {PREFIX}{near[0]}?" if near else " See docs/configuration.md for all of them."
            raise InvalidSettings(f"{name} is not a setting.{hint}")


def _explain(error: ValidationError) -> str:
    """One line for each wrong setting, without the value of a secret, or of an address, which may have one in it."""
    lines: list[str] = []
    for problem in error.errors(include_url=False, include_context=False):
        field = str(problem["loc"][0])
        names = PREFIX + field.upper()
        if field in Settings.model_fields and (aliases := variable_of(field).aliases):
            names += f" ({', '.join(aliases)})"
        secret = field in Settings.model_fields and SecretStr.__name__ in str(Settings.model_fields[field].annotation)
        value = repr(problem["input"])
        shown = "" if secret or "://" in value or "@" in value else f": {value}"
        lines.append(f"{names}{shown}: {problem['msg']}.")
    return "\n".join(lines)
