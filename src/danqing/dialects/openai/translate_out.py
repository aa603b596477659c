"""From the core to the wire. Pure.

Tokens are counted by a rule of our own, for there is no bill: a token is four bytes of UTF-8 of the prompts, or 32x32
pixels of a picture, each begun one counted.
"""

import math
from collections.abc import Sequence
from datetime import datetime

from danqing.core.capabilities import ModelCard
from danqing.core.types import Job
from danqing.dialects.openai.schemas import InputTokens, ModelEntry, OutputTokens, Usage

TOKEN_BYTES = 4
TOKEN_SIDE = 32  # pixels
OWNER = "danqing"

# Names under which OpenAI's clients ask for models; those that this server answers to are listed.
OPENAI_NAMES = (
    "gpt-image-1",
    "gpt-image-1-mini",
    "gpt-image-1.5",
    "gpt-image-2",
    "gpt-image-2-2026-04-21",
    "gpt-image-2.5-sunburst",
    "gpt-image-2.5-sunburst-2026-09-08",
    "gpt-image-2.5-flare",
    "gpt-image-2.5-flare-2026-09-08",
    "gpt-image-2.6-sunburst",
    "gpt-image-2.6-flare",
    "chatgpt-image-latest",
    "dall-e-2",
    "dall-e-3",
)


def usage_of(jobs: Sequence[Job], *, input_images: int, seconds: float) -> Usage:
    """jobs: completed. input_images: pictures that the client sent to be edited, masks not counted."""
    text = sum(_text_tokens(job.request.prompt, job.request.negative_prompt) for job in jobs)
    sent = sum(_image_tokens(*image.size) for job in jobs for image in job.request.input_images)
    made = sum(_image_tokens(job.request.width, job.request.height) for job in jobs)
    return Usage(
        processing_time_seconds=round(seconds, 2),
        input_images=input_images,
        generated_images=len(jobs),
        input_tokens=text + sent,
        input_tokens_details=InputTokens(image_tokens=sent, text_tokens=text),
        output_tokens=made,
        output_tokens_details=OutputTokens(image_tokens=made, text_tokens=0),
        total_tokens=text + sent + made,
    )


def _text_tokens(*texts: str) -> int:
    return sum(math.ceil(len(text.encode()) / TOKEN_BYTES) for text in texts)


def _image_tokens(width: int, height: int) -> int:
    return math.ceil(width / TOKEN_SIDE) * math.ceil(height / TOKEN_SIDE)


def size_of(job: Job) -> str:
    """As clients write it."""
    return f"{job.request.width}x{job.request.height}"


def adjustments_of(job: Job) -> list[str] | None:
    """None where nothing was adjusted."""
    return list(job.adjustments) or None


def model_entry(name: str, card: ModelCard, *, created: int) -> ModelEntry:
    """created: Unix time."""
    return ModelEntry(id=name, created=created, owned_by=OWNER, root=card.id)


def timestamp(moment: datetime) -> str:
    """As the vendor writes it; moment is UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")
