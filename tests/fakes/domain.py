"""Model cards, requests and jobs as tests need them: whole by default, with the one thing that matters overridden."""

import itertools
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from danqing.core.capabilities import Capabilities, ModelCard, ModelDefaults, Range, TrainedSizes
from danqing.core.types import Artifact, ArtifactKind, GenerationRequest, Job, JobFailure, Mode

NOW = datetime(2026, 11, 22, 7, 30, 15, 123456, tzinfo=UTC)
NO_LIMIT = 1_000_000  # pending jobs
LOST = JobFailure(code="worker_lost", message="The worker process was lost.", retryable=True)
_seconds = itertools.count()


def later() -> datetime:
    """A moment after NOW, each call a second on."""
    return NOW + timedelta(seconds=next(_seconds))


def a_card(**changes: Any) -> ModelCard:  # noqa: ANN401 - fields of the dataclass
    """A small model that makes two sizes and takes guidance."""
    capabilities = Capabilities(
        modes=frozenset({Mode.TEXT2IMG}),
        size_rules=TrainedSizes(sizes=((128, 128), (160, 96))),
        side=Range(minimum=64, maximum=2048),
        steps=Range(minimum=1, maximum=50),
        guidance=True,
        negative_prompt=True,
        max_prompt_chars=100,
        cfg_shaping=True,
    )
    card = ModelCard(
        id="tiny",
        family="z_image",
        source="somewhere",
        revision=None,
        title="Tiny",
        capabilities=capabilities,
        defaults=ModelDefaults(width=1024, height=1024, num_inference_steps=9, guidance_scale=0.0),
    )
    return replace(card, **changes)


def a_request(**changes: Any) -> GenerationRequest:  # noqa: ANN401 - fields of the dataclass
    """A complete request."""
    request = GenerationRequest(
        model="tiny",
        mode=Mode.TEXT2IMG,
        prompt="蓝色背景上的披萨 🍕",
        negative_prompt="",
        width=1024,
        height=1024,
        num_inference_steps=9,
        guidance_scale=0.0,
        seed=42,
    )
    return replace(request, **changes)


def a_job(**changes: Any) -> Job:  # noqa: ANN401 - fields of the dataclass
    """A new job, not yet stored, in a batch of its own."""
    job = Job(id=str(uuid.uuid4()), owner="local", request=a_request(), fingerprint="f" * 64, created_at=later())
    return replace(job, **{"batch_id": changes.get("id", job.id), **changes})


def an_enlarged(job: Job) -> Artifact:
    """That job's picture, enlarged."""
    name = f"{job.id}-upscaled.png"
    return replace(an_original(job), kind=ArtifactKind.UPSCALED, name=name, width=4096, height=4096)


def an_original(job: Job) -> Artifact:
    """The picture of that job."""
    return Artifact(
        kind=ArtifactKind.ORIGINAL,
        name=f"{job.id}.png",
        media_type="image/png",
        width=1024,
        height=1024,
        size_bytes=123_456,
    )
