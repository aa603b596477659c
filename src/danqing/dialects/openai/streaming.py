"""Pictures as server-sent events: partial ones while they are made, then the finished one, or an error."""

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from danqing.core.callers import Caller
from danqing.core.errors import DanqingError, RequestTimeout, ShuttingDown
from danqing.core.events import PreviewMade, StateChanged
from danqing.core.picture_ports import ArtifactStore
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.core.types import EncodedPicture, Job
from danqing.dialects.openai.delivery import picture_base64
from danqing.dialects.openai.errors import failure_of, openai_error, problem_of
from danqing.dialects.openai.partials import PartialPicker
from danqing.dialects.openai.pictures import fitted
from danqing.dialects.openai.schemas import CompletedImage, CompletedType, PartialImage, PartialType, StreamKind
from danqing.dialects.openai.translate_in import Delivery
from danqing.dialects.openai.translate_out import adjustments_of, size_of, usage_of
from danqing.http.encoding import Encoding
from danqing.http.waiting import ClientGone, leave_all

KEEP_ALIVE_S = 15  # proxies close what is silent for long
SEND_TIMEOUT_S = 60.0  # a client that takes nothing for so long is gone
_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}
_PARTIAL: Mapping[StreamKind, PartialType] = {
    "image_generation": "image_generation.partial_image",
    "image_edit": "image_edit.partial_image",
}
_COMPLETED: Mapping[StreamKind, CompletedType] = {
    "image_generation": "image_generation.completed",
    "image_edit": "image_edit.completed",
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """What is told of which jobs. partial_images: for each. began: `time.monotonic()` when the request came.

    user: what the client calls whom it asks for.
    """

    kind: StreamKind
    jobs: Sequence[Job]
    delivery: Delivery
    partial_images: int
    caller: Caller
    timeout_s: float
    began: float
    user: str | None


class PictureStream(Response):
    """Ends with its last picture, or with an `error` event; then it has left its jobs (`Studio.leave`)."""

    media_type = "text/event-stream"

    def __init__(
        self,
        plan: StreamPlan,
        *,
        studio: Studio,
        artifacts: ArtifactStore,
        encoding: Encoding,
        headers: Mapping[str, str],
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({**_HEADERS, **headers})
        self._plan = plan
        self._studio = studio
        self._artifacts = artifacts
        self._encoding = encoding
        self._known = list(plan.jobs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        try:
            await self._tell_all(receive, send)
        except ClientGone:
            _log.debug("client_gone")
        finally:
            await asyncio.shield(leave_all(self._studio, self._known, caller=self._plan.caller))

    async def _tell_all(self, receive: Receive, send: Send) -> None:
        line = _Line(send)
        await line.begin(self.status_code, self.raw_headers)
        followers = [asyncio.create_task(self._follow(index, line)) for index in range(len(self._plan.jobs))]
        all_told = asyncio.gather(*followers)
        gone = asyncio.create_task(_until_gone(receive))
        pulse = asyncio.create_task(line.keep_alive())
        try:
            await asyncio.wait((all_told, gone), timeout=self._plan.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and not all_told.done():
                raise ClientGone
            error = all_told.exception() if all_told.done() else RequestTimeout()
            if isinstance(error, ClientGone):
                raise error
            await self._tell_error(error, line) if error else self._log_completed()
            await line.end()
        finally:
            for task in (gone, pulse, *followers):
                task.cancel()
            await asyncio.gather(*followers, return_exceptions=True)
            await asyncio.gather(all_told, gone, pulse, return_exceptions=True)

    async def _follow(self, index: int, line: "_Line") -> None:
        """Tells of one job until it has ended. Raises GenerationFailed, or ShuttingDown."""
        plan, job = self._plan, self._plan.jobs[index]
        picker = PartialPicker(plan.partial_images)
        async with self._studio.watch(job.id, caller=plan.caller, previews=plan.partial_images > 0) as events:
            async for event in events:
                if isinstance(event, StateChanged):
                    self._known[index] = event.job
                match event:
                    case PreviewMade():
                        place = picker.take(event.step, event.total_steps)
                        if place is not None:
                            await line.tell(await self._partial(index, place, event.picture))
                    case StateChanged() if event.job.state is JobState.COMPLETED:
                        await line.tell(await self._completed(index, event.job))
                        return
                    case StateChanged() if event.job.state.is_final:
                        raise failure_of(event.job)
                    case _:
                        pass
        raise ShuttingDown

    async def _partial(self, index: int, place: int, preview: EncodedPicture) -> PartialImage:
        plan, job = self._plan, self._plan.jobs[index]
        size, delivery = (job.request.width, job.request.height), plan.delivery

        async def content() -> bytes:
            return preview.content

        picture = await self._encoding.partial.encoded(
            job.owner, content, lambda jpeg: fitted(jpeg, size, delivery.output_format, delivery.compression)
        )
        return PartialImage(
            type=_PARTIAL[plan.kind],
            b64_json=base64.b64encode(picture).decode("ascii"),
            background="opaque",
            created_at=int(time.time()),
            output_format=plan.delivery.output_format,
            partial_image_index=place,
            quality=plan.delivery.quality,
            size=size_of(job),
            image_index=self._image_index(index),
        )

    async def _completed(self, index: int, job: Job) -> CompletedImage:
        plan = self._plan
        seconds = time.monotonic() - plan.began
        return CompletedImage(
            type=_COMPLETED[plan.kind],
            b64_json=await picture_base64(
                self._artifacts, self._encoding.answers, job, plan.delivery.output_format, plan.delivery.compression
            ),
            background="opaque",
            created_at=int(time.time()),
            output_format=plan.delivery.output_format,
            quality=plan.delivery.quality,
            size=size_of(job),
            usage=usage_of([job], input_images=len(job.request.input_images), seconds=seconds),
            safety_identifier=plan.user,
            image_index=self._image_index(index),
            adjustments=adjustments_of(job),
        )

    def _image_index(self, index: int) -> int | None:
        """Told only where there are several pictures to tell apart."""
        return index if len(self._plan.jobs) > 1 else None

    def _log_completed(self) -> None:
        seconds = round(time.monotonic() - self._plan.began, 2)
        _log.info(f"{self._plan.kind}_completed", seconds=seconds, generated=len(self._plan.jobs))

    async def _tell_error(self, error: BaseException, line: "_Line") -> None:
        if not isinstance(error, DanqingError):
            _log.error("stream_failed", error=type(error).__name__, exc_info=error)
        await line.tell_error(error if isinstance(error, Exception) else DanqingError())


class _Line:
    """Events are sent whole, one after the other, whoever sends them. Its methods raise ClientGone."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._free = asyncio.Lock()

    async def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self._send_in_time({"type": "http.response.start", "status": status, "headers": headers})

    async def tell(self, event: PartialImage | CompletedImage) -> None:
        await self._write(f"event: {event.type}\ndata: {_json(event)}\n\n")

    async def tell_error(self, error: Exception) -> None:
        await self._write(f"event: error\ndata: {_json(openai_error(problem_of(error)))}\n\n")

    async def keep_alive(self) -> None:
        """Comments, for ever; a failing connection ends it."""
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            await self._write(": still at work\n\n")

    async def end(self) -> None:
        async with self._free:
            await self._send_in_time({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, text: str) -> None:
        async with self._free:
            await self._send_in_time({"type": "http.response.body", "body": text.encode(), "more_body": True})

    async def _send_in_time(self, message: Message) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._send(message)
        except TimeoutError as exc:
            raise ClientGone from exc


def _json(model: BaseModel) -> str:
    """On one line."""
    return model.model_dump_json(exclude_none=True)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
