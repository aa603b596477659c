"""What a client says of a picture beside what makes it: any JSON object, and in it where the history shows the picture.

The original reads it as it comes, so numbers are also taken as text, and a batch's id as a number.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Self, TypeAlias, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from danqing.core.batches import MAX_BATCH_JOBS
from danqing.dialects.zimage.batch_ids import BatchId

MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_DEPTH = 16
MAX_BATCH_SIZE = MAX_BATCH_JOBS
MAX_BATCH_INDEX = 10_000  # and below; clients count as they like
MAX_DIGITS = 9
_NUMBER = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}")


def whole(value: object) -> object:
    """512 for 512.0, which is the same number in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _counted(value: object) -> object:
    return int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else whole(value)


def _named(value: object) -> object:
    number = whole(value)
    if isinstance(number, int) and not isinstance(number, bool):
        return str(number)
    return None if value == "" else value


# What each may be written as, for the OpenAPI document.
_Index: TypeAlias = (
    Annotated[int, Field(ge=0, lt=MAX_BATCH_INDEX)]
    | Annotated[str, StringConstraints(pattern=r"^0*[0-9]{1,4}$", max_length=MAX_DIGITS)]
    | None
)
_Size: TypeAlias = (
    Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE)]
    | Annotated[str, StringConstraints(pattern=r"^0*([1-9][0-9]{0,2}|1000)$", max_length=MAX_DIGITS)]
    | None
)
_Id: TypeAlias = BatchId | Annotated[str, StringConstraints(max_length=0)] | int | None


class Metadata(BaseModel):
    """Any JSON object, told again as it came; these three say where the history shows the image.

    batch_id: a number is its decimal text; none, or an empty one, is a batch of the image's own.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    batch_id: Annotated[BatchId | None, BeforeValidator(_named, json_schema_input_type=_Id)] = None
    batch_index: Annotated[
        Annotated[int, Field(ge=0, lt=MAX_BATCH_INDEX)] | None, BeforeValidator(_counted, json_schema_input_type=_Index)
    ] = None
    batch_size: Annotated[
        Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE)] | None, BeforeValidator(_counted, json_schema_input_type=_Size)
    ] = None
    _given: Mapping[str, object] = PrivateAttr(default_factory=dict[str, object])

    @property
    def given(self) -> Mapping[str, object]:
        """As it came."""
        return self._given

    @model_validator(mode="wrap")
    @classmethod
    def _is_storable(cls, given: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Bounded, and writable as the JSON that it came as: Python also reads NaN, and halves of surrogate pairs."""
        if not _is_shallow(given, MAX_METADATA_DEPTH):
            raise PydanticCustomError(
                "metadata_too_deep",
                "Metadata should be nested at most {levels} levels deep",
                {"levels": MAX_METADATA_DEPTH},
            )
        try:
            size = len(json.dumps(given, ensure_ascii=False, allow_nan=False).encode())
        except ValueError as exc:
            raise PydanticCustomError("metadata_invalid", "Metadata should hold finite numbers and valid text") from exc
        if size > MAX_METADATA_BYTES:
            raise PydanticCustomError(
                "metadata_too_large", "Metadata should have at most {bytes} bytes", {"bytes": MAX_METADATA_BYTES}
            )
        metadata = handler(given)
        metadata._given = cast("Mapping[str, object]", given)
        return metadata


def _is_shallow(value: object, levels: int) -> bool:
    if isinstance(value, Mapping):
        members = cast("Sequence[object]", list(cast("Mapping[str, object]", value).values()))
    elif isinstance(value, list):
        members = cast("Sequence[object]", value)
    else:
        return True
    return levels > 0 and all(_is_shallow(member, levels - 1) for member in members)
