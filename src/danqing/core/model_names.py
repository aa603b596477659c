"""Names that clients use for models, beside the models' own ids. Pure."""

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

DEFAULT = "default"  # as an alias's target: the model that is served
_HUB_ID = re.compile(r"[a-z0-9][\w.-]*/[a-z0-9][\w.-]*", re.ASCII | re.IGNORECASE)


def is_hub_id(name: str) -> bool:
    """True for what could be a repository of the Hugging Face hub: `organisation/name`."""
    return _HUB_ID.fullmatch(name) is not None


def meant_model(name: str, aliases: Mapping[str, str], *, default: str, served: Collection[str]) -> str | None:
    """The id that `name` stands for; None if it is no alias, or one of nothing that is served.

    aliases: pattern (`*` stands for anything) to id or `DEFAULT`; the first that fits counts. An id that is not served
    may be an alias in its turn.
    """
    tried = set[str]()
    while name not in tried:
        tried.add(name)
        target = next((target for pattern, target in aliases.items() if fnmatchcase(name, pattern)), None)
        if target is None or target in served:
            return target
        if target == DEFAULT:
            return default
        name = target
    return None
