"""What every family says about itself without loading anything. Imports no torch: the server reads it too."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from danqing.core.capabilities import ModelCard
from danqing.core.types import Mode


@dataclass(frozen=True, kw_only=True)
class FamilyDescription:
    """id: as in `ModelCard.family`. pipeline_classes: each `_class_name` of a `model_index.json` that is the family's.

    known_models: checkpoints that have an id of their own. describe_folder(folder, model_id): the card of a checkpoint
    of the family in a local folder; raises ModelLoadFailure. description_files: what that reads beside
    `model_index.json`, to be fetched first for a checkpoint on the hub; optional_files: what it reads if it is there.
    adapter: "module:factory", imported only where it runs. companion_modes: those that a companion can add to a model.
    """

    id: str
    pipeline_classes: tuple[str, ...]
    known_models: tuple[ModelCard, ...]
    describe_folder: Callable[[Path, str], ModelCard]
    description_files: tuple[str, ...]
    optional_files: tuple[str, ...]
    adapter: str
    companion_modes: frozenset[Mode] = frozenset()
