"""Every model that has an id here, and how any other is found: by its folder or hub id. Imports no torch."""

import json
import posixpath
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from danqing.core.capabilities import Capabilities, ModelCard, ModelDefaults, Precision
from danqing.core.errors import ModelLoadFailure, UnknownModel
from danqing.core.model_entries import ModelEntry
from danqing.core.model_names import is_hub_id
from danqing.core.resolve import MAX_GUIDANCE
from danqing.engine.families.description import FamilyDescription
from danqing.engine.families.own_description import own_description
from danqing.engine.families.registry import FamilyRegistry
from danqing.engine.hub import HubCheckpoint


class KnownModels:
    """The built-in models and those that the person who runs the server gave an id; an entry hides a built-in one."""

    def __init__(
        self,
        *,
        entries: Sequence[ModelEntry] = (),
        precision: Precision = "native",
        families: FamilyRegistry | None = None,
    ) -> None:
        """entries: no two of one id. precision: of models that say none of their own."""
        self._families = families or FamilyRegistry()
        self._built_in = tuple(card for family in self._families.families for card in family.known_models)
        self._entries = {entry.id: entry for entry in entries}
        self._precision: Precision = precision

    def ids(self) -> tuple[str, ...]:
        """Of all models that have one: the built-in ones first."""
        return tuple(dict.fromkeys([*(card.id for card in self._built_in), *self._entries]))

    def find(self, name: str) -> ModelCard:
        """name: a model id (`sample`), a hub id (`Tongyi-MAI/Z-Image-Turbo`), or a diffusers folder.

        Blocking: a hub id that no built-in model has is looked up in the hub's local cache, and if need be on the hub.
        Raises UnknownModel for a name that is none of these, ModelLoadFailure for a checkpoint that cannot be used or
        an entry that does not fit its checkpoint.
        """
        if name in self._entries:
            return self._from_entry(self._entries[name])
        for card in self._built_in:
            if name in (card.id, card.source):
                entry = self._entries.get(card.id)
                return self._from_entry(entry) if entry else self._in_precision(card)
        folder = Path(name)
        if name and folder.is_dir():
            return self._in_precision(self._of_source(str(folder.resolve()), None, None))
        if is_hub_id(name):
            return self._in_precision(self._of_source(name, None, None))
        ids = ", ".join(self.ids())
        raise UnknownModel(f"{name} is neither a known model ({ids}) nor a folder nor a hub id.", parameter="model")

    def _in_precision(self, card: ModelCard, *, said: Precision | None = None) -> ModelCard:
        """said: what the card's entry asks for."""
        meant = said or (self._precision if card.precision == "native" else card.precision)
        return card if meant == card.precision else replace(card, precision=meant, memory_bytes=None)

    def _from_entry(self, entry: ModelEntry) -> ModelCard:
        base = self._base(entry)
        own = tuple(c for c in base.companions if all(c.mode is not other.mode for other in entry.companions))
        card = replace(
            base,
            id=entry.id,
            title=entry.title or base.title,
            capabilities=self._with_companions(base, entry),
            defaults=entry.defaults.over(base.defaults),
            companions=(*own, *entry.companions),
        )
        _check_defaults(card.defaults, card.capabilities, entry)
        return self._in_precision(card, said=entry.precision)

    def _base(self, entry: ModelEntry) -> ModelCard:
        """The checkpoint's own card, or the built-in one."""
        for card in self._built_in:
            if card.id == entry.id if entry.source is None else card.source == entry.source:
                return replace(card, revision=entry.revision or card.revision)
        if entry.source is None:
            ids = ", ".join(card.id for card in self._built_in)
            raise ModelLoadFailure(f"{entry.place}: source is missing; only a built-in model ({ids}) goes without.")
        return self._of_source(entry.source, entry.revision, entry.id)

    def _with_companions(self, base: ModelCard, entry: ModelEntry) -> Capabilities:
        family = next(family for family in self._families.families if family.id == base.family)
        added = frozenset(companion.mode for companion in entry.companions)
        if strange := sorted(added - family.companion_modes):
            known = ", ".join(sorted(family.companion_modes)) or "none"
            raise ModelLoadFailure(
                f"{entry.place}: a {family.id} model takes no companion for {', '.join(strange)}; there is: {known}."
            )
        return replace(base.capabilities, modes=base.capabilities.modes | added)

    def _of_source(self, source: str, revision: str | None, model_id: str | None) -> ModelCard:
        """source: an absolute folder or a hub id. model_id: None for one that is made of its name."""
        if Path(source).is_absolute():
            folder = Path(source)
            family = self._family(folder, folder.name)
            return family.describe_folder(folder, model_id or _model_id(folder.name) or family.id)
        return self._describe_on_hub(source, revision, model_id)

    def _describe_on_hub(self, repo_id: str, revision: str | None, model_id: str | None) -> ModelCard:
        """The card of exactly the commit that was looked at."""
        checkpoint = HubCheckpoint(repo_id, revision)
        folder = checkpoint.fetch("model_index.json").parent
        family = self._family(folder, repo_id)
        for filename in family.description_files:
            checkpoint.fetch(filename)
        for filename in family.optional_files:
            checkpoint.fetch_if_possible(filename)
        if controlnet := own_description(folder).controlnet:
            checkpoint.fetch(f"{posixpath.normpath(controlnet)}/config.json")
        card = family.describe_folder(folder, model_id or _model_id(repo_id.partition("/")[2]) or family.id)
        return replace(card, source=repo_id, revision=checkpoint.commit)

    def _family(self, folder: Path, name: str) -> FamilyDescription:
        pipeline_class = _pipeline_class(folder, name)
        family = self._families.of_pipeline(pipeline_class)
        if family is None:
            supported = ", ".join(each for family in self._families.families for each in family.pipeline_classes)
            raise ModelLoadFailure(f"{name} is a {pipeline_class}; supported: {supported}.")
        return family


def _check_defaults(defaults: ModelDefaults, can: Capabilities, entry: ModelEntry) -> None:
    """Raises ModelLoadFailure for a default that a client could not ask for."""
    for name, value, allowed in (
        ("width", defaults.width, can.side),
        ("height", defaults.height, can.side),
        ("num_inference_steps", defaults.num_inference_steps, can.steps),
    ):
        if value not in allowed:
            raise ModelLoadFailure(
                f"{entry.place}: defaults.{name} is {value}; this model has {allowed.minimum} to {allowed.maximum}."
            )
    if defaults.guidance_scale > (most := MAX_GUIDANCE if can.guidance else 0):
        raise ModelLoadFailure(
            f"{entry.place}: defaults.guidance_scale is {defaults.guidance_scale:g}; this model has 0 to {most}."
        )


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
