"""What is held for a slow reader: bounded, and in which order it is given up."""

import asyncio

from danqing.core.types import EncodedPicture, Progress, Stage
from danqing.dialects.live.letters import Letter, Step
from danqing.dialects.live.outbox import Outbox, OutboxLimits

LIMITS = OutboxLimits(letters=5, steps=3, previews=2, ease=2)
PICTURE = EncodedPicture(width=1, height=1, media_type="image/jpeg", content=b"x")


def step(number: int, preview: EncodedPicture | None = None) -> Step:
    progress = Progress(stage=Stage.DENOISING, step=number, total_steps=9)
    return Step(job_id="j", progress=progress, preview=preview)


async def all_of(outbox: Outbox) -> list[Letter | Step]:
    taken: list[Letter | Step] = []
    while True:
        try:
            async with asyncio.timeout(0.05):
                taken.append(await outbox.take())
        except TimeoutError:
            return taken


async def test_the_oldest_steps_go_and_letters_stay_in_their_place() -> None:
    outbox = Outbox(LIMITS)
    outbox.put_letter(Letter(text="first"))
    for number in range(1, 6):
        outbox.put_step(step(number))
    outbox.put_letter(Letter(text="last"))

    assert await all_of(outbox) == [Letter(text="first"), step(3), step(4), step(5), Letter(text="last")]


async def test_a_preview_goes_before_the_step_it_came_with() -> None:
    outbox = Outbox(LIMITS)
    for number in range(1, 4):
        outbox.put_step(step(number, PICTURE))

    assert await all_of(outbox) == [step(1), step(2, PICTURE), step(3, PICTURE)]


async def test_a_reader_that_keeps_up_gets_everything() -> None:
    outbox, taken = Outbox(LIMITS), list[Letter | Step]()
    for number in range(1, 50):
        outbox.put_step(step(number, PICTURE))
        taken.append(await outbox.take())

    assert taken == [step(number, PICTURE) for number in range(1, 50)]


async def test_letters_beyond_the_bound_are_kept_and_told_of() -> None:
    outbox = Outbox(LIMITS)
    for number in range(5):
        outbox.put_letter(Letter(text=str(number)))
    assert not outbox.overflowed.is_set()

    outbox.put_letter(Letter(text="5"))

    assert outbox.overflowed.is_set()
    assert len(await all_of(outbox)) == 6


async def test_a_client_may_ask_again_once_little_is_held() -> None:
    outbox = Outbox(LIMITS)
    for number in range(3):
        outbox.put_letter(Letter(text=str(number)))
    waiting = asyncio.create_task(outbox.eased())
    await asyncio.sleep(0)
    assert not waiting.done()

    await outbox.take()

    await asyncio.wait_for(waiting, 5)


BYTES = OutboxLimits(letter_bytes=5000, ease_bytes=2000)


async def test_a_client_may_ask_again_once_few_bytes_are_held() -> None:
    outbox = Outbox(BYTES)
    for _ in range(3):
        outbox.put_letter(Letter(text="x" * 900))
    waiting = asyncio.create_task(outbox.eased())
    await asyncio.sleep(0)
    assert not waiting.done()

    await outbox.take()

    await asyncio.wait_for(waiting, 5)


async def test_letters_beyond_the_bytes_are_kept_and_told_of() -> None:
    outbox = Outbox(BYTES)
    for _ in range(5):
        outbox.put_letter(Letter(text="x" * 900))
    assert not outbox.overflowed.is_set()

    outbox.put_letter(Letter(text="x" * 900))

    assert outbox.overflowed.is_set()
    assert len(await all_of(outbox)) == 6


async def test_characters_count_as_what_they_take_in_memory() -> None:
    outbox = Outbox(BYTES)
    outbox.put_letter(Letter(text="😀" + "x" * 1300))

    assert outbox.overflowed.is_set()


async def test_what_was_taken_counts_no_more() -> None:
    outbox = Outbox(BYTES)
    for _ in range(50):
        outbox.put_letter(Letter(text="x" * 900))
        await outbox.take()

    assert not outbox.overflowed.is_set()
    await asyncio.wait_for(outbox.eased(), 5)


async def test_idle_is_when_the_reader_came_back_for_more() -> None:
    outbox = Outbox(LIMITS)
    outbox.put_letter(Letter(text="x"))
    idle = asyncio.create_task(outbox.idle())
    await outbox.take()
    await asyncio.sleep(0)
    assert not idle.done()  # it may still be on its way

    reader = asyncio.create_task(outbox.take())
    await asyncio.wait_for(idle, 5)
    reader.cancel()


class Line:
    """To a client that takes things at once while it is open."""

    def __init__(self) -> None:
        self.is_open = True
        self.sent: list[Letter | Step] = []

    def send_now(self, item: Letter | Step) -> bool:
        if self.is_open:
            self.sent.append(item)
        return self.is_open


async def test_while_the_reader_waits_everything_is_sent_at_once() -> None:
    line = Line()
    outbox = Outbox(LIMITS, send_now=line.send_now)
    reader = asyncio.create_task(outbox.take())
    await outbox.idle()

    outbox.put_letter(Letter(text="a"))
    outbox.put_step(step(1, PICTURE))
    for number in range(10):  # more than may be held
        outbox.put_letter(Letter(text=str(number)))

    assert line.sent == [Letter(text="a"), step(1, PICTURE), *(Letter(text=str(number)) for number in range(10))]
    assert not outbox.overflowed.is_set()
    assert not reader.done()
    reader.cancel()


async def test_nothing_overtakes_what_the_reader_has() -> None:
    # Given a reader that was never there yet, one that has the last item still in hand, and one that waits
    line = Line()
    outbox = Outbox(LIMITS, send_now=line.send_now)
    outbox.put_letter(Letter(text="before the reader"))
    assert await outbox.take() == Letter(text="before the reader")
    outbox.put_letter(Letter(text="while it is at work"))
    assert await outbox.take() == Letter(text="while it is at work")
    reader = asyncio.create_task(outbox.take())
    await outbox.idle()

    # When nothing can be sent, and then again
    line.is_open = False
    outbox.put_letter(Letter(text="held"))
    line.is_open = True
    outbox.put_step(step(1))

    # Then all goes the way of the first
    assert line.sent == []
    assert await reader == Letter(text="held")
    outbox.put_letter(Letter(text="held too"))
    assert await all_of(outbox) == [step(1), Letter(text="held too")]
    assert line.sent == []
