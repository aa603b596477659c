"""Which families there are. Adding one: a folder beside this file, and a line in `ALL`."""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from danqing.core.errors import ModelLoadFailure
from danqing.engine.families.description import FamilyDescription
from danqing.engine.families.flux.capabilities import FLUX
from danqing.engine.families.qwen_image.capabilities import QWEN_IMAGE
from danqing.engine.families.z_image.capabilities import Z_IMAGE

if TYPE_CHECKING:  # torch comes with it
    from danqing.engine.families.adapter import AdapterFactory

ALL: tuple[FamilyDescription, ...] = (Z_IMAGE, FLUX, QWEN_IMAGE)


class FamilyRegistry:
    """Families by id and by pipeline class. Raises ValueError if two share one, or if two models share an id."""

    def __init__(self, families: Sequence[FamilyDescription] = ALL) -> None:
        self._families = tuple(families)
        for names in (
            [family.id for family in families],
            [pipeline_class for family in families for pipeline_class in family.pipeline_classes],
            [card.id for family in families for card in family.known_models],
        ):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"registered twice: {', '.join(sorted(twice))}")

    @property
    def families(self) -> tuple[FamilyDescription, ...]:
        """In the order of registration."""
        return self._families

    def of_pipeline(self, pipeline_class: str) -> FamilyDescription | None:
        """The family that runs checkpoints of this pipeline class."""
        return next((family for family in self._families if pipeline_class in family.pipeline_classes), None)

    def adapter_factory(self, family_id: str) -> "AdapterFactory":
        """Imports the family's code (and torch with it). Raises ModelLoadFailure for an unknown family."""
        family = next((family for family in self._families if family.id == family_id), None)
        if family is None:
            raise ModelLoadFailure(f"No family {family_id} is registered.")
        module, _, factory = family.adapter.partition(":")
        return cast("AdapterFactory", getattr(importlib.import_module(module), factory))
