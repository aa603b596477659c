"""Requests and answers as the OpenAPI document shows them: the vendor's, and OpenAI's shapes of them. Files by name."""

from collections.abc import Mapping

from danqing.dialects.openai.schemas import (
    CompletedImage,
    CompletedType,
    ImagesAnswer,
    InputTokens,
    OutputFormat,
    OutputTokens,
    Picture,
    Usage,
)

Examples = Mapping[str, Mapping[str, object]]  # by what each shows

_CREATED = 1700000000
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_SIZE, _SIZE_TOKENS = "1024x1024", 1024
_ADDRESS = "http://localhost:8000/v1/files/images"
_ADDRESSES = (
    f"{_ADDRESS}/550e8400-e29b-41d4-a716-446655440000-80.webp",
    f"{_ADDRESS}/6ba7b810-9dad-41d1-80b4-00c04fd430c8-80.webp",
)

GENERATIONS: Examples = {
    "A picture": {"prompt": "a beautiful landscape", "size": _SIZE},
    "Two, by address": {
        "prompt": "a beautiful landscape",
        "n": 2,
        "size": _SIZE,
        "response_format": "url",
        "output_format": "webp",
        "output_compression": 80,
        "seed": 42,
    },
    "A stream": {"prompt": "a beautiful landscape", "size": _SIZE, "stream": True, "partial_images": 2},
}
EDITS: Examples = {
    "A picture": {"prompt": "a beautiful landscape", "images": ["image.jpg"], "n": 1},
    "A batch: two of each": {
        "prompt": "enhance colors",
        "images": ["photo1.jpg", "photo2.jpg", "photo3.jpg"],
        "n": 2,
    },
    "A part of a picture": {"prompt": "add a red flower", "image": "image.png", "mask": "mask.png"},
    "One picture out of two": {"prompt": "a beautiful landscape", "image[]": ["photo1.jpg", "photo2.jpg"]},
}
EDITS_AS_JSON: Examples = {
    "A picture": {
        "prompt": "a beautiful landscape",
        "images": [{"image_url": f"data:image/png;base64,{_PICTURE}"}],
        "size": _SIZE,
    },
}
VARIATIONS: Examples = {"Two variations": {"image": "image.png", "n": 2, "size": _SIZE}}


def _usage(*, sent: int, made: int, text_tokens: int) -> Usage:
    """sent, made: pictures."""
    put_in, put_out = sent * _SIZE_TOKENS, made * _SIZE_TOKENS
    return Usage(
        processing_time_seconds=12.34,
        input_images=sent,
        generated_images=made,
        input_tokens=put_in + text_tokens,
        input_tokens_details=InputTokens(image_tokens=put_in, text_tokens=text_tokens),
        output_tokens=put_out,
        output_tokens_details=OutputTokens(image_tokens=put_out, text_tokens=0),
        total_tokens=put_in + text_tokens + put_out,
    )


def _answer(*pictures: Picture, usage: Usage, output_format: OutputFormat = "png") -> Mapping[str, object]:
    return ImagesAnswer(
        created=_CREATED,
        data=list(pictures),
        background="opaque",
        output_format=output_format,
        quality="high",
        size=_SIZE,
        usage=usage,
    ).model_dump(exclude_none=True)


def _event(kind: CompletedType, usage: Usage) -> Mapping[str, object]:
    completed = CompletedImage(
        type=kind,
        b64_json=_PICTURE,
        background="opaque",
        created_at=_CREATED,
        output_format="png",
        quality="high",
        size=_SIZE,
        usage=usage,
    )
    return {"event": kind, "data": completed.model_dump_json(exclude_none=True)}


_OF_TEXT, _OF_ONE = _usage(sent=0, made=1, text_tokens=6), _usage(sent=1, made=1, text_tokens=6)

GENERATED: Examples = {
    "A picture": _answer(Picture(b64_json=_PICTURE), usage=_OF_TEXT),
    "Two, by address": _answer(
        *(Picture(url=address) for address in _ADDRESSES),
        usage=_usage(sent=0, made=2, text_tokens=12),
        output_format="webp",
    ),
}
EDITED: Examples = {
    "A picture": _answer(Picture(b64_json=_PICTURE), usage=_OF_ONE),
    "By a model that does not read instructions": _answer(
        Picture(
            b64_json=_PICTURE,
            adjustments=["edited by prompt-guided img2img, because the model does not understand instructions"],
        ),
        usage=_OF_ONE,
    ),
}
VARIED: Examples = {
    "Two variations": _answer(
        *(Picture(b64_json=_PICTURE) for _ in range(2)), usage=_usage(sent=1, made=2, text_tokens=0)
    )
}
GENERATED_EVENT = _event("image_generation.completed", _OF_TEXT)
EDITED_EVENT = _event("image_edit.completed", _OF_ONE)
