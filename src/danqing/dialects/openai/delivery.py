"""Hands finished pictures over: as base64 or by address, in the format asked for."""

import asyncio
import base64
from collections.abc import Sequence
from functools import partial

from danqing.core.errors import ArtifactNotFound
from danqing.core.picture_ports import ArtifactStore
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.dialects.openai.errors import failure_of
from danqing.dialects.openai.picture_files import PictureFile
from danqing.dialects.openai.pictures import STORED_AS, converted
from danqing.dialects.openai.schemas import OutputFormat, Picture
from danqing.dialects.openai.translate_in import Delivery
from danqing.dialects.openai.translate_out import adjustments_of
from danqing.http.embedded_pictures import Embedded, Source
from danqing.http.encoding import EncodingLane
from danqing.http.opened_later import OpenedLater
from danqing.http.picture_links import PictureLinks
from danqing.http.pictures import read_picture

_OPEN_AT_ONCE = 8  # pictures of one answer, of which a batch may have a thousand
_SMALL_BYTES = 256 * 1024  # to change threads twice takes longer than these take as base64


async def handed_over(
    artifacts: ArtifactStore,
    lane: EncodingLane,
    links: PictureLinks,
    jobs: Sequence[Job],
    delivery: Delivery,
    *,
    base_url: str,
    embedded: Embedded,
) -> list[Picture]:
    """jobs: ended. lane: where pictures are encoded. base_url: of this server, with a slash at its end. embedded: gets
    what is to be sent as base64.

    Raises GenerationFailed if one has no picture, ArtifactNotFound, StorageFailure.
    """
    failed = next((job for job in jobs if job.state is not JobState.COMPLETED), None)
    if failed is not None:
        raise failure_of(failed)
    return [
        Picture(url=_url(links, job, delivery, base_url), adjustments=adjustments_of(job))
        if delivery.as_url
        else Picture(
            b64_json=embedded.add(await _source(artifacts, lane, job, delivery, at_once=number < _OPEN_AT_ONCE)),
            adjustments=adjustments_of(job),
        )
        for number, job in enumerate(jobs)
    ]


async def _source(
    artifacts: ArtifactStore, lane: EncodingLane, job: Job, delivery: Delivery, *, at_once: bool
) -> Source:
    if delivery.output_format == STORED_AS and job.original is not None:
        name = job.original.name
        return await (artifacts.open(name) if at_once else OpenedLater.found(artifacts, name))
    return await picture_bytes(artifacts, lane, job, delivery.output_format, delivery.compression)


async def picture_base64(
    artifacts: ArtifactStore, lane: EncodingLane, job: Job, output_format: OutputFormat, compression: int
) -> str:
    """Of a completed job. Raises what `picture_bytes` does."""
    content = await picture_bytes(artifacts, lane, job, output_format, compression)
    if len(content) <= _SMALL_BYTES:
        return _base64(content)
    return await asyncio.to_thread(_base64, content)


async def picture_bytes(
    artifacts: ArtifactStore, lane: EncodingLane, job: Job, output_format: OutputFormat, compression: int
) -> bytes:
    """Of a completed job, encoded in its owner's turn. Raises ArtifactNotFound or StorageFailure; TooBusy if the lane
    is full.
    """
    original = job.original
    if original is None:
        raise ArtifactNotFound
    read = partial(read_picture, artifacts, original.name)
    if output_format == STORED_AS:
        return await read()
    return await lane.encoded(job.owner, read, lambda png: converted(png, output_format, compression))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _url(links: PictureLinks, job: Job, delivery: Delivery, base_url: str) -> str:
    file = PictureFile(job_id=job.id, output_format=delivery.output_format, compression=delivery.compression)
    return base_url.rstrip("/") + links.sign(file.path)
