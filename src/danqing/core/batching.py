"""Which requests one call of a model may make together, and how many. Pure."""

import dataclasses
from collections.abc import Hashable
from operator import attrgetter

from danqing.core.capabilities import ModelCard
from danqing.core.sizes import plan_size
from danqing.core.types import GenerationRequest

# What may differ between pictures that are made together; of their input images only the contents may.
OF_EACH_ALONE = frozenset({"prompt", "negative_prompt", "seed", "further", "input_images", "mask", "control_image"})
_of_all = attrgetter(*sorted({field.name for field in dataclasses.fields(GenerationRequest)} - OF_EACH_ALONE))


def batch_key(request: GenerationRequest) -> Hashable:
    """Equal for requests that can be made together."""
    inputs = tuple(image.size for image in request.input_images)
    return _of_all(request), inputs, request.mask is None, request.control_image is None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchRule:
    """How much one call makes: at most so many pictures, and more than one only up to so many pixels in all.

    pixels: of the pictures as the models make them, before they are enlarged. cards: of all models that there are.
    """

    pixels: int
    pictures: int
    cards: tuple[ModelCard, ...]

    def largest(self, request: GenerationRequest) -> int:
        """Pictures of such a request that are made together; at least 1. What is taken from a step before is decided
        for all of a call at once, so with a step cache each is made alone: it would not be the same picture.
        """
        card = next((card for card in self.cards if card.id == request.model), None)
        if card is None or request.step_cache is not None:
            return 1
        width, height = plan_size(card.capabilities.size_rules, request.width, request.height).native
        return max(1, min(self.pictures, self.pixels // (width * height)))
