"""One JSON object for the readers of several dialects: what each of them looks for, side by side."""

import json
from collections.abc import Mapping
from types import MappingProxyType

CONFLICTS = "conflicts"


def join(
    parts: Mapping[str, Mapping[str, object]], leaders: Mapping[str, str] = MappingProxyType({})
) -> dict[str, object]:
    """parts: each dialect's fields, JSON values, by the dialect's name. No dialect may have a field `conflicts`.

    A field that several dialects have is told where they agree on its value. Where they differ `conflicts` tells who
    says what: `{field: {dialect: value}}`. Then the field itself has the value of the dialect that leads it (leaders:
    by field), or is left out if none does, because any value would be wrong for somebody.
    """
    said: dict[str, dict[str, object]] = {}
    for dialect, fields in parts.items():
        for name, value in fields.items():
            said.setdefault(name, {})[dialect] = value
    conflicts = {name: values for name, values in said.items() if not _agree(values)}
    joint: dict[str, object] = {
        name: next(iter(values.values())) for name, values in said.items() if name not in conflicts
    }
    joint |= {name: values[leaders[name]] for name, values in conflicts.items() if leaders.get(name) in values}
    return joint | {CONFLICTS: conflicts} if conflicts else joint


def _agree(values: Mapping[str, object]) -> bool:
    """Equal as JSON, where true is not 1."""
    return len({json.dumps(value, sort_keys=True) for value in values.values()}) == 1
