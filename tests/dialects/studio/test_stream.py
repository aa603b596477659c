"""Jobs as they go on."""

import asyncio
import json
from pathlib import Path

from danqing.core.callers import LOCAL
from danqing.core.clock import utc_now
from danqing.dialects.studio.stream import JobStream, Letterbox
from danqing.dialects.studio.translate_out import Teller
from tests.dialects.house import House
from tests.dialects.studio.asking import ask, submitted


def events_of(text: str) -> list[tuple[str, dict[str, object]]]:
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("event: ")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


async def test_a_job_is_told_from_its_place_in_the_queue_to_its_picture(tmp_path: Path) -> None:
    house = House(tmp_path, automatic=True)
    house.painter.begin.clear()
    (job,) = await submitted(house, num_inference_steps=3)
    stream = JobStream(
        [job["id"]], studio=house.studio, teller=Teller(link=str), caller=LOCAL, standing=house.services.standing
    )

    text = ""
    async for piece in stream.texts():
        text += piece
        if '"pending"' in piece:
            house.painter.begin.set()

    told = events_of(text)
    states = [data["state"] for name, data in told if name == "job"]
    assert (states[0], states[-1]) == ("pending", "completed")
    assert next(data["queue_position"] for name, data in told if name == "job") == 1
    assert [name for name, _ in told][-1] == "end"
    steps = [int(str(data["step"])) for name, data in told if name == "progress"]
    assert steps and steps == sorted(steps)
    previews = [data for name, data in told if name == "preview"]
    assert previews and str(previews[0]["image"]).startswith("data:image/jpeg;base64,")


async def test_what_has_ended_and_what_never_was_end_the_stream_at_once(tmp_path: Path) -> None:
    house = House(tmp_path, automatic=True)
    (job,) = await submitted(house)
    await house.studio.wait(job["id"])

    answer = await ask(house, "GET", f"/studio/events?job={job['id']}&job=never")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert sorted(name for name, _ in events_of(answer.text)) == ["end", "gone", "job"]


async def test_a_job_that_is_removed_before_its_end_was_told_is_gone(tmp_path: Path) -> None:
    house = House(tmp_path)
    job_id = (await submitted(house))[0]["id"]
    stream = JobStream(
        [job_id], studio=house.studio, teller=Teller(link=str), caller=LOCAL, standing=house.services.standing
    )

    text = ""
    async with asyncio.timeout(20):
        async for piece in stream.texts():
            text += piece
            if '"pending"' in piece:
                await house.store.cancel(job_id, utc_now())
                await house.services.removal.remove(job_id)
                house.events.close()  # as far as this job goes

    assert [name for name, _ in events_of(text)] == ["job", "gone", "end"]


async def test_places_are_told_as_they_move_up(tmp_path: Path) -> None:
    house = House(tmp_path)
    first, second = [(await submitted(house, seed=seed))[0]["id"] for seed in (1, 2)]
    stream = JobStream(
        [second], studio=house.studio, teller=Teller(link=str), caller=LOCAL, standing=house.services.standing
    )

    piece = ""
    async with asyncio.timeout(20):
        async for piece in stream.texts():
            if '"pending"' in piece:
                await house.painter.start(first)
            if "event: position" in piece:
                break

    assert events_of(piece) == [("position", {"job_id": second, "queue_position": 1})]


async def test_of_what_nobody_took_the_newest_step_counts_and_every_state() -> None:
    box = Letterbox()
    box.put("job", {"state": "pending"})
    for step in (1, 2, 3):
        box.put("progress", {"step": step}, key="progress")
    box.put("job", {"state": "completed"})

    assert events_of(await box.take(1)) == [
        ("job", {"state": "pending"}),
        ("progress", {"step": 3}),
        ("job", {"state": "completed"}),
    ]
    assert await box.take(0) == ": still here\n\n"
