"""Names that clients use for models, beside the models' own ids. Pure."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

DEFAULT = "default"  # as an alias's target: the model that is served


def meant_model(name: str, aliases: Mapping[str, str], *, default: str) -> str | None:
    """The id that `name` stands for; None if it is no alias.

    aliases: pattern (`*` stands for anything) to id or `DEFAULT`; the first that fits counts.
    """
    target = next((target for pattern, target in aliases.items() if fnmatchcase(name, pattern)), None)
    return default if target == DEFAULT else target
