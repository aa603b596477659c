"""Which models this server offers, found by an id, a hub id or a folder. Imports no torch: the server reads it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from danqing.core.capabilities import ModelCard
from danqing.core.errors import ModelLoadFailure, UnknownModel
from danqing.engine.families.registry import FamilyRegistry


class Catalogue:
    """A `ModelCatalogue` of the models that the workers load: exactly the ones named to it."""

    def __init__(self, default: str, *, others: Sequence[str] = (), families: FamilyRegistry | None = None) -> None:
        """default, others: a model id (`sample`), a hub id (`Tongyi-MAI/Z-Image-Turbo`), or a diffusers folder.

        Raises UnknownModel for a name that is none of these, ModelLoadFailure for a folder that cannot be used.
        """
        self._families = families or FamilyRegistry()
        self._cards: dict[str, ModelCard] = {}
        for name in (default, *others):
            card = self._find(name)
            if card.id in self._cards:
                raise ModelLoadFailure(f"Two models would have the id {card.id}.")
            self._cards[card.id] = card

    def default(self) -> ModelCard:
        """What a client gets that names no model."""
        return self.cards()[0]

    def card(self, model_id: str) -> ModelCard:
        """Raises UnknownModel."""
        if model_id not in self._cards:
            raise UnknownModel(f"This server has no model {model_id}.", parameter="model")
        return self._cards[model_id]

    def cards(self) -> Sequence[ModelCard]:
        """Every model on offer, the default first."""
        return tuple(self._cards.values())

    def known(self) -> Sequence[ModelCard]:
        """Every model that has an id of its own, on offer here or not."""
        return tuple(card for family in self._families.families for card in family.known_models)

    def _find(self, name: str) -> ModelCard:
        for card in self.known():
            if name in (card.id, card.source):
                return card
        folder = Path(name)
        if name and folder.is_dir():
            return self._describe(folder.resolve())
        ids = ", ".join(card.id for card in self.known())
        raise UnknownModel(f"{name} is neither a known model ({ids}) nor a folder.", parameter="model")

    def _describe(self, folder: Path) -> ModelCard:
        pipeline_class = _pipeline_class(folder)
        family = self._families.of_pipeline(pipeline_class)
        if family is None:
            supported = ", ".join(each.pipeline_class for each in self._families.families)
            raise ModelLoadFailure(f"{folder.name} is a {pipeline_class}; supported: {supported}.")
        model_id = re.sub(r"[^a-z0-9._-]+", "-", folder.name.lower()).strip("-.") or family.id
        return family.describe_folder(folder, model_id)


def _pipeline_class(folder: Path) -> str:
    """`_class_name` of the folder's model_index.json. Raises ModelLoadFailure."""
    try:
        index: object = json.loads((folder / "model_index.json").read_bytes())
    except (OSError, ValueError) as exc:
        raise ModelLoadFailure(f"{folder.name} has no readable model_index.json.") from exc
    match index:
        case {"_class_name": str(name)}:
            return name
        case _:
            raise ModelLoadFailure(f"model_index.json of {folder.name} names no pipeline class.")
