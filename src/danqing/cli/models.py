"""`danqing models`: the models that can be served, and which of them are on this disk."""

from typing import TYPE_CHECKING

from danqing.cli.options import Model, settings_from

if TYPE_CHECKING:
    from danqing.core.capabilities import SizeRules


def models(model: Model = None) -> None:
    """List the models that can be served: id, family, source, whether the files are here, sizes and steps.

    The first one, marked with a star, is the one that `danqing serve` would serve now.

    Examples:

        danqing models

        danqing models --model ./my-z-image-folder
    """
    from rich.console import Console
    from rich.table import Table

    from danqing.model_files import files_state
    from danqing.wiring import build_catalogue

    catalogue = build_catalogue(settings_from(model=model))
    served = catalogue.cards()
    others = [card for card in catalogue.known() if card.id not in {c.id for c in served}]
    table = Table(box=None, pad_edge=False)
    for heading in ("", "id", "family", "source", "files", "sizes", "steps"):
        table.add_column(heading, overflow="fold")
    for card in (*served, *others):
        can = card.capabilities
        table.add_row(
            "*" if card in served else "",
            card.id,
            card.family,
            card.source,
            files_state(card).text,
            f"{can.side.minimum} to {can.side.maximum}, {_made_at(can.size_rules)}",
            f"{can.steps.minimum} to {can.steps.maximum}",
        )
    Console().print(table)


def _made_at(rules: "SizeRules") -> str:
    from danqing.core.capabilities import TrainedSizes

    if isinstance(rules, TrainedSizes):
        return "made at " + " ".join(f"{width}x{height}" for width, height in rules.sizes)
    return f"multiples of {rules.multiple_of} made as they are"
