"""What a client may call a batch."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

# Clients and proxies take such parts out of paths, so that the address of the batch would be that of something else.
_DOTS = re.compile(r"(^|[/\\])\.{1,2}([/\\]|$)")


def _addressable(batch_id: str) -> str:
    if _DOTS.search(batch_id):
        raise PydanticCustomError("batch_id_not_addressable", "No part of a batch id should be . or .., nor all of it")
    return batch_id


BatchId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$"),
    AfterValidator(_addressable),
    Field(json_schema_extra={"not": {"pattern": _DOTS.pattern}}),
]
