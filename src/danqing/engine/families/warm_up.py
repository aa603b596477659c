"""What a model makes before anybody waits for a picture: compilers and kernels are ready afterwards."""

from dataclasses import replace

import numpy as np

from danqing.core.capabilities import ModelCard
from danqing.core.sizes import plan_size
from danqing.core.types import GenerationRequest, Mode
from danqing.engine.families.adapter import Order
from danqing.engine.families.loaded_model import Size
from danqing.engine.input_pictures import InputPicture

GREY = 128
SIDE_IN_BATCHES = 512  # pixels
LONGER_PROMPT = "a picture of many things, one beside the other, " * 4


def warm_up_order(card: ModelCard, size: Size) -> Order:
    """The smallest that the model takes: from nothing if it can, else from a grey picture."""
    can = card.capabilities
    mode = Mode.TEXT2IMG if Mode.TEXT2IMG in can.modes else min(can.modes)
    grey = np.full((size[1], size[0], 3), GREY, np.uint8)
    from_nothing = mode is Mode.TEXT2IMG
    refers = mode is Mode.EDIT and can.instruction_edit
    return Order(
        request=GenerationRequest(
            model=card.id,
            mode=mode,
            prompt="",
            negative_prompt="",
            width=size[0],
            height=size[1],
            num_inference_steps=1,
            guidance_scale=card.defaults.guidance_scale if can.guidance else 0.0,
            seed=0,
            strength=None if from_nothing or refers else 1.0,
        ),
        start=None
        if from_nothing or refers
        else InputPicture(rgb=grey, mask=grey[:, :, 0] if mode is Mode.FILL else None),
        control=grey if mode is Mode.CONTROLNET else None,
        references=(grey,) if refers else (),
    )


def size_of_batches(card: ModelCard) -> Size:
    """Of pictures that are made together: smaller ones, which is where that pays."""
    return plan_size(card.capabilities.size_rules, SIDE_IN_BATCHES, SIDE_IN_BATCHES).native


def warm_up_batches(card: ModelCard, size: Size) -> list[list[Order]]:
    """Texts of equal, and of different length."""
    order = warm_up_order(card, size)
    longer = replace(order, request=replace(order.request, prompt=LONGER_PROMPT))
    return [[order, order], [order, longer]]
