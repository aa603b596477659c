"""Which model makes an edit: one that understands instructions, where the client leaves it open. Pure."""

from collections.abc import Collection

from danqing.core.capabilities import ModelCard
from danqing.core.ports import ModelCatalogue


def model_for_edit(
    catalogue: ModelCatalogue,
    name: str | None,
    *,
    begins: bool,
    loras: Collection[str] = (),
    step_cache: bool = False,
) -> ModelCard:
    """name: what the client says; None: nothing. begins: with the picture, for which there is a mask or a strength.

    loras, step_cache: what is asked for beside; where only the usual model has it, that is meant. Raises UnknownModel.
    """
    usual, instructed = (
        catalogue.card(name, instructed=wanted) if name else catalogue.default(instructed=wanted)
        for wanted in (False, True)
    )
    meant = any(lora in usual.loras and lora not in instructed.loras for lora in loras) or (
        step_cache and usual.capabilities.step_cache and not instructed.capabilities.step_cache
    )
    return usual if begins or meant else instructed
