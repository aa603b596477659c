"""From a request's drafts to its answer: submits the jobs, waits for them or streams them, hands the pictures over."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import structlog
from starlette.requests import Request
from starlette.responses import Response

from danqing.core.submitting import SubmitKey
from danqing.core.types import Job, RequestDraft
from danqing.dialects.openai.delivery import handed_over
from danqing.dialects.openai.schemas import ImagesAnswer
from danqing.dialects.openai.streaming import PictureStream, StreamPlan
from danqing.dialects.openai.translate_in import Delivery, orders_of
from danqing.dialects.openai.translate_out import size_of, usage_of
from danqing.http.body_budget import release_body
from danqing.http.callers import known_caller
from danqing.http.dialect import Services
from danqing.http.embedded_pictures import Embedded
from danqing.http.waiting import wait_for_jobs, while_connected
from danqing.http.warnings import warning_headers

Kind = Literal["image_generation", "image_edit", "image_variation"]
_LOGGED_PROMPT = 80  # characters

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Commission:
    """What a request wants. variants: of each draft. streamed: with this many partial images; None: no stream.

    input_images: how many were sent to be edited. began: `time.monotonic()` when the request came. warnings: told in
    the answer's header. user: told again. key: of a request that may be a repetition.
    """

    kind: Kind
    drafts: Sequence[RequestDraft]
    variants: int
    delivery: Delivery
    input_images: int
    began: float
    warnings: Sequence[str]
    streamed: int | None = None
    user: str | None = None
    key: SubmitKey | None = None


class Maker:
    """Answers commissions."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def submit(self, request: Request, commission: Commission) -> list[Job]:
        """All jobs or none. Raises what `Studio.submit` does."""
        orders = orders_of(commission.drafts, variants=commission.variants, batch_id=str(uuid.uuid4()))
        jobs = await self._services.studio.submit_all(orders, caller=known_caller(request), key=commission.key)
        _log.info(
            f"{commission.kind}_requested",
            n=commission.variants,
            images=commission.input_images,
            **_told_prompt(commission.drafts[0].prompt, wanted=self._services.options.log_prompts),
        )
        return jobs

    async def answer(self, request: Request, commission: Commission, jobs: Sequence[Job]) -> Response:
        """With all pictures, or with a stream of them. Raises GenerationFailed, RequestTimeout or ClientGone."""
        if commission.streamed is not None:
            return self._stream(request, commission, commission.streamed, jobs)
        services = self._services
        timeout_s = services.options.request_timeout_s * len(jobs)
        ended = await wait_for_jobs(request, services.studio, jobs, caller=known_caller(request), timeout_s=timeout_s)
        base_url = services.options.public_url or str(request.base_url)
        with Embedded() as embedded:
            handing_over = handed_over(
                services.artifacts,
                services.encoding.answers,
                services.links,
                ended,
                commission.delivery,
                base_url=base_url,
                embedded=embedded,
            )
            pictures = await while_connected(request, handing_over, timeout_s=timeout_s)
            seconds = time.monotonic() - commission.began
            answer = ImagesAnswer(
                created=int(time.time()),
                data=pictures,
                background="opaque",
                output_format=commission.delivery.output_format,
                quality=commission.delivery.quality,
                size=size_of(ended[0]),
                usage=usage_of(ended, input_images=commission.input_images, seconds=seconds),
                safety_identifier=commission.user,
            )
            text = answer.model_dump_json(exclude_none=True)
            response = embedded.response(text, headers=warning_headers(commission.warnings))
        _log.info(f"{commission.kind}_completed", seconds=round(seconds, 2), generated=len(ended))
        return response

    def _stream(self, request: Request, commission: Commission, partial_images: int, jobs: Sequence[Job]) -> Response:
        release_body(request)
        plan = StreamPlan(
            kind="image_edit" if commission.kind == "image_edit" else "image_generation",
            jobs=jobs,
            delivery=commission.delivery,
            partial_images=partial_images,
            caller=known_caller(request),
            timeout_s=self._services.options.request_timeout_s * len(jobs),
            began=commission.began,
            user=commission.user,
        )
        return PictureStream(
            plan,
            studio=self._services.studio,
            artifacts=self._services.artifacts,
            encoding=self._services.encoding,
            headers=warning_headers(commission.warnings),
        )


def _told_prompt(prompt: str, *, wanted: bool) -> dict[str, str]:
    """What people ask for is nobody's business, unless the operator says that it is his."""
    return {"prompt": prompt[:_LOGGED_PROMPT]} if wanted else {}
