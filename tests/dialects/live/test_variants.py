"""Which model a `model_type` means."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from danqing.core.capabilities import ModelCard
from danqing.dialects.live.schemas import CreateJob
from danqing.dialects.live.translate_in import to_draft, to_message
from tests.fakes.domain import a_card

NATIVE = a_card(id="sample")
UINT4 = a_card(id="sample-uint4", precision="sdnq-uint4")
INT8 = a_card(id="sample-int8", precision="sdnq-int8")
TORCHAO = a_card(id="other-int8", precision="torchao-int8")
FOREIGN = a_card(id="flux-int8", family="flux", precision="sdnq-int8")


def meant(model_type: str | None, cards: Sequence[ModelCard]) -> str | None:
    params: dict[str, Any] = {"prompt": "a cat"} | ({"model_type": model_type} if model_type else {})
    message = to_message(json.dumps({"type": "create_job", "task_type": "text_to_image", "params": params}))
    assert isinstance(message, CreateJob)
    return to_draft(message, cards).model


@pytest.mark.parametrize(
    ("model_type", "cards", "model"),
    [
        ("uint4", (NATIVE, UINT4, INT8), "sample-uint4"),
        ("int8", (NATIVE, UINT4, INT8), "sample-int8"),
        (None, (NATIVE, INT8, UINT4), "sample-uint4"),  # the document's default
        ("int8", (INT8, NATIVE, TORCHAO), "sample-int8"),
        ("int8", (NATIVE, TORCHAO, INT8), "other-int8"),  # the first of them
        # Without a variant, the name that the document's server has for it, which is an alias
        ("uint4", (NATIVE, INT8), "z-image-turbo-uint4"),
        ("int8", (NATIVE,), "z-image-turbo-int8"),
        ("int8", (NATIVE, FOREIGN), "z-image-turbo-int8"),
        ("int8", (FOREIGN, INT8), "flux-int8"),
    ],
)
def test_the_variant_of_the_default_models_family(
    model_type: str | None, cards: Sequence[ModelCard], model: str
) -> None:
    assert meant(model_type, cards) == model
