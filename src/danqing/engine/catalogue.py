"""Which models this server offers, found by an id, a hub id or a folder. Imports no torch: the server reads it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from danqing.core.capabilities import ModelCard
from danqing.core.errors import ModelLoadFailure, UnknownModel
from danqing.core.model_names import meant_model
from danqing.engine.families.description import FamilyDescription
from danqing.engine.families.registry import FamilyRegistry
from danqing.engine.hub import HubCheckpoint

SHOWN_NAME = 100  # characters of a name that a client made up
HUB_ID = re.compile(r"[a-z0-9][\w.-]*/[a-z0-9][\w.-]*", re.ASCII | re.IGNORECASE)


class Catalogue:
    """A `ModelCatalogue` of the models that the workers load: exactly the ones named to it."""

    def __init__(
        self,
        default: str,
        *,
        others: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
        families: FamilyRegistry | None = None,
    ) -> None:
        """default, others: a model id (`sample`), a hub id (`Tongyi-MAI/Z-Image-Turbo`), or a diffusers folder.

        aliases: further names of these models, see `core/model_names.py`.

        Blocking: a hub id that no known model has is looked up in the hub's local cache, and if need be on the hub.
        Raises UnknownModel for a name that is none of these, ModelLoadFailure for a checkpoint that cannot be used.
        """
        self._families = families or FamilyRegistry()
        self._aliases = dict(aliases or {})
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
        """The model of that id, or that it is an alias of. Raises UnknownModel."""
        if model_id in self._cards:
            return self._cards[model_id]
        meant = meant_model(model_id, self._aliases, default=self.default().id)
        if meant not in self._cards:
            raise UnknownModel(f"This server has no model {model_id[:SHOWN_NAME]}.", parameter="model")
        return self._cards[meant]

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
            return self._describe_folder(folder.resolve())
        if HUB_ID.fullmatch(name):
            return self._describe_on_hub(name)
        ids = ", ".join(card.id for card in self.known())
        raise UnknownModel(f"{name} is neither a known model ({ids}) nor a folder nor a hub id.", parameter="model")

    def _describe_folder(self, folder: Path) -> ModelCard:
        family = self._family(folder, folder.name)
        return family.describe_folder(folder, _model_id(folder.name) or family.id)

    def _describe_on_hub(self, repo_id: str) -> ModelCard:
        """The card of exactly the commit that was looked at."""
        checkpoint = HubCheckpoint(repo_id)
        folder = checkpoint.fetch("model_index.json").parent
        family = self._family(folder, repo_id)
        for filename in family.description_files:
            checkpoint.fetch(filename)
        for filename in family.optional_files:
            checkpoint.fetch_if_possible(filename)
        card = family.describe_folder(folder, _model_id(repo_id.partition("/")[2]) or family.id)
        return replace(card, source=repo_id, revision=checkpoint.commit)

    def _family(self, folder: Path, name: str) -> FamilyDescription:
        pipeline_class = _pipeline_class(folder, name)
        family = self._families.of_pipeline(pipeline_class)
        if family is None:
            supported = ", ".join(each.pipeline_class for each in self._families.families)
            raise ModelLoadFailure(f"{name} is a {pipeline_class}; supported: {supported}.")
        return family


def _model_id(name: str) -> str:
    """The id made of a folder's or repository's name; may be empty."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.")


def _pipeline_class(folder: Path, checkpoint: str) -> str:
    """`_class_name` of the folder's model_index.json. checkpoint: its name for people. Raises ModelLoadFailure."""
    try:
        index: object = json.loads((folder / "model_index.json").read_bytes())
    except (OSError, ValueError) as exc:
        raise ModelLoadFailure(f"{checkpoint} has no readable model_index.json.") from exc
    match index:
        case {"_class_name": str(name)}:
            return name
        case _:
            raise ModelLoadFailure(f"model_index.json of {checkpoint} names no pipeline class.")
