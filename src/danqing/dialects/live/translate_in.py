"""From live's wire to the core. Pure."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn, TypeGuard, cast

from pydantic import ValidationError
from pydantic_core import from_json

from danqing.core.capabilities import ModelCard
from danqing.core.types import ArtifactKind, RequestDraft
from danqing.dialects.live.errors import Malformed, field_error
from danqing.dialects.live.schemas import (
    CLIENT_MESSAGES,
    DEFAULT_GUIDANCE,
    DEFAULT_MODEL_TYPE,
    DEFAULT_SEED,
    DEFAULT_SIDE,
    DEFAULT_STEPS,
    MAX_INTEGER,
    MODELS,
    TASK_TYPE,
    ClientMessage,
    CreateJob,
    RequestId,
    is_integer,
)

MAX_MESSAGE_CHARS = 512 * 1024  # room for a prompt of 32,000 characters, however they are escaped
_BEYOND_ALL = 10**400  # more than a float holds, too
_SHOWN_CHARS = 60  # of what a client sent, in a message about it


def to_message(text: str) -> ClientMessage:
    """What a client's frame says. Raises Malformed, with the request_id if the frame has one."""
    if len(text) > MAX_MESSAGE_CHARS:
        raise Malformed(f"The message is too large; the limit is {MAX_MESSAGE_CHARS} characters.")
    value = _parsed(text)
    if not isinstance(value, dict):
        raise Malformed("The message must be a JSON object.")
    fields = cast("dict[str, object]", value)
    request_id = fields.get("request_id")
    known = request_id if _is_usable(request_id) else None
    kind = fields.get("type")
    if kind is None:
        raise Malformed(f"type is required: {_types()}.", request_id=known)
    if not isinstance(kind, str) or kind not in CLIENT_MESSAGES:
        raise Malformed(f"Unknown type {_shown(kind)}; there is {_types()}.", request_id=known)
    _check_task_type(fields, known)
    try:
        return CLIENT_MESSAGES[kind].model_validate(fields)
    except ValidationError as exc:
        raise Malformed(field_error(exc), request_id=known) from None


def to_draft(message: CreateJob, cards: Sequence[ModelCard]) -> RequestDraft:
    """What is not given, or null, is the document's default. cards: every model on offer, the default first."""
    said = message.params
    return RequestDraft(
        prompt=said.prompt,
        model=_variant(said.model_type or DEFAULT_MODEL_TYPE, cards),
        width=DEFAULT_SIDE if said.width is None else said.width,
        height=DEFAULT_SIDE if said.height is None else said.height,
        num_inference_steps=DEFAULT_STEPS if said.steps is None else said.steps,
        guidance_scale=DEFAULT_GUIDANCE if said.guidance_scale is None else said.guidance_scale,
        seed=DEFAULT_SEED if said.seed is None else said.seed,
        further=(ArtifactKind.UPSCALED,),
    )


def _variant(model_type: str, cards: Sequence[ModelCard]) -> str:
    """The id of the first model of the default one's family in that precision; without one the document's own name."""
    fitting = (
        card.id for card in cards if card.family == cards[0].family and card.precision.endswith(f"-{model_type}")
    )
    return next(fitting, MODELS[model_type])


def wants_previews(message: CreateJob) -> bool:
    """Whether they are asked for in either place."""
    return bool(message.previews or message.params.previews)


def _parsed(text: str) -> object:
    """A lone surrogate (half of an emoji that was cut) is left to the field that has it. Raises Malformed."""
    with suppress(ValueError):
        return from_json(text, allow_inf_nan=False)
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_int=_integer)
    except (ValueError, RecursionError):
        raise Malformed("The message is not valid JSON.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _integer(digits: str) -> int:
    """One with more digits than Python converts is as good as any that is out of every range."""
    try:
        return int(digits)
    except ValueError:
        return -_BEYOND_ALL if digits.startswith("-") else _BEYOND_ALL


def _is_usable(request_id: object) -> TypeGuard[RequestId]:
    """Whether an answer can tell it as it came."""
    if isinstance(request_id, str):
        return _is_unicode(request_id)
    return is_integer(request_id) and abs(request_id) <= MAX_INTEGER


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_task_type(fields: Mapping[str, object], request_id: RequestId | None) -> None:
    if fields.get("type") != "create_job" or fields.get("task_type") == TASK_TYPE:
        return
    if fields.get("task_type") is None:
        raise Malformed(f'task_type is required: "{TASK_TYPE}".', request_id=request_id)
    raise Malformed(f'Unknown task_type {_shown(fields["task_type"])}; there is "{TASK_TYPE}".', request_id=request_id)


def _types() -> str:
    return ", ".join(CLIENT_MESSAGES)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
