"""Jobs as server-sent events, as they go on: states, steps, previews, places in the queue. Keeps nothing between calls.

Events: `job` (a JobView), `position`, `progress`, `preview`, `gone` (no such job), and `end` when all have ended. A
stream that ends without `end` was cut off, by a stop of the server or because its caller's key was revoked; who reads
it asks again.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence

from danqing.core.callers import Caller
from danqing.core.errors import DanqingError, NotFound
from danqing.core.events import Event, PreviewMade, ProgressMade
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.dialects.studio.translate_out import Teller
from danqing.http.standing import Standing

KEEP_ALIVE_S = 15.0  # proxies close what is silent for long
POSITIONS_EVERY_S = 1.0


class Letterbox:
    """What is still to be sent. Of steps and previews that nobody has taken yet, the newest counts; states all stay."""

    def __init__(self) -> None:
        self._letters: dict[object, str] = {}  # in the order of sending
        self._news = asyncio.Event()

    def put(self, event: str, data: object, *, key: object = None) -> None:
        """key: what it replaces of that is still here; None: nothing."""
        place = object() if key is None else key
        self._letters.pop(place, None)
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        self._letters[place] = f"event: {event}\ndata: {text}\n\n"
        self._news.set()

    async def take(self, timeout_s: float) -> str:
        """All that is here, or after so long a comment."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return ": still here\n\n"
        self._news.clear()
        text = "".join(self._letters.values())
        self._letters.clear()
        return text


class JobStream:
    """One client's stream."""

    def __init__(
        self, job_ids: Sequence[str], *, studio: Studio, teller: Teller, caller: Caller, standing: Standing
    ) -> None:
        self._job_ids = list(dict.fromkeys(job_ids))
        self._studio = studio
        self._teller = teller
        self._caller = caller
        self._standing = standing
        self._box = Letterbox()
        self._waiting: dict[str, int] = {}  # pending jobs, and the place that was told

    async def texts(self) -> AsyncIterator[str]:
        """Until all have ended, the caller's key is revoked, or the server stops."""
        box, lost = self._box, asyncio.get_running_loop().create_future()
        with self._standing.watched(self._caller, lambda: lost.set_result(None)):
            following = [asyncio.create_task(self._follow(job_id)) for job_id in self._job_ids]
            places = asyncio.create_task(self._tell_places())
            told = asyncio.ensure_future(asyncio.gather(*following))
            try:
                yield ": here\n\n"
                while not told.done():
                    taking = asyncio.create_task(box.take(KEEP_ALIVE_S))
                    await asyncio.wait((taking, told, lost), return_when=asyncio.FIRST_COMPLETED)
                    if lost.done() or not taking.done():
                        taking.cancel()
                        break
                    yield taking.result()
                if lost.done():
                    return
                if all(told.result()):
                    box.put("end", {})
                yield await box.take(0.0)
            finally:
                for task in (places, *following):
                    task.cancel()
                await asyncio.gather(places, told, *following, return_exceptions=True)

    async def _follow(self, job_id: str) -> bool:
        """Whether all there is to tell of it has been told."""
        try:
            async with self._studio.watch(job_id, caller=self._caller, previews=True) as events:
                is_over = False
                async for event in events:
                    is_over = await self._tell(job_id, event)
                return is_over
        except NotFound:
            self._box.put("gone", {"job_id": job_id})
            return True
        except DanqingError:
            return False

    async def _tell(self, job_id: str, event: Event) -> bool:
        match event:
            case ProgressMade():
                progress = event.progress
                self._box.put(
                    "progress",
                    {
                        "job_id": job_id,
                        "stage": progress.stage,
                        "step": progress.step,
                        "total_steps": progress.total_steps,
                        "elapsed_s": round(progress.elapsed_s, 3),
                    },
                    key=("progress", job_id),
                )
            case PreviewMade():
                content = base64.b64encode(event.picture.content).decode("ascii")
                data = {
                    "job_id": job_id,
                    "step": event.step,
                    "total_steps": event.total_steps,
                    "image": f"data:{event.picture.media_type};base64,{content}",
                }
                self._box.put("preview", data, key=("preview", job_id))
            case _:
                job = event.job
                place = await self._studio.queue_position(job)
                if job.state is JobState.PENDING:
                    self._waiting[job_id] = place
                else:
                    self._waiting.pop(job_id, None)
                self._box.put("job", self._teller.job(job, queue_position=place).model_dump_json())
                return job.state.is_final
        return False

    async def _tell_places(self) -> None:
        """As they move up; until it is cancelled."""
        while True:
            await asyncio.sleep(POSITIONS_EVERY_S)
            for job_id, told in list(self._waiting.items()):
                try:
                    job = await self._studio.get(job_id, caller=self._caller)
                    place = await self._studio.queue_position(job)
                except DanqingError:
                    continue  # whoever follows it tells of that
                if place and place != told and job_id in self._waiting:
                    self._waiting[job_id] = place
                    data = {"job_id": job_id, "queue_position": place}
                    self._box.put("position", data, key=("position", job_id))
