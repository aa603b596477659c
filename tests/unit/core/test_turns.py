"""Owners take turns, and who would have to wait behind too many is told so."""

import asyncio

import pytest

from danqing.core.errors import TooBusy
from danqing.core.turns import Turns


class Row:
    """Takes turns and notes in which order they come; each ends when the test says so."""

    def __init__(self, places: int, *, most_waiting: int = 100, most_waiting_of_one: int = 100) -> None:
        self._turns = Turns(places, most_waiting=most_waiting, most_waiting_of_one=most_waiting_of_one)
        self.served: list[str] = []
        self._inside: list[asyncio.Event] = []

    async def ask(self, owner: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self._take(owner))
        await settled()
        return task

    async def end_one(self) -> None:
        self._inside.pop(0).set()
        await settled()

    async def _take(self, owner: str) -> None:
        async with self._turns.turn(owner):
            self.served.append(owner)
            end = asyncio.Event()
            self._inside.append(end)
            await end.wait()


async def test_however_many_are_cancelled_at_once_no_place_is_lost() -> None:
    # Given two places, and more who wait than Python calls deep
    turns = Turns(2, most_waiting=10_000, most_waiting_of_one=10_000)
    row = [asyncio.create_task(_wait_in(turns)) for _ in range(3000)]
    await asyncio.sleep(0)
    # When all are cancelled in one moment, those first who have places
    for task in row:
        task.cancel()
    results = await asyncio.gather(*row, return_exceptions=True)
    assert {type(result) for result in results} == {asyncio.CancelledError}
    # Then both places are free
    async with asyncio.timeout(5), turns.turn("one"), turns.turn("two"):
        pass


async def _wait_in(turns: Turns) -> None:
    async with turns.turn("one"):
        await asyncio.Event().wait()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_owner_s_many_pictures_do_not_keep_the_others_waiting() -> None:
    row = Row(1)
    tasks = [await row.ask(owner) for owner in "aaaaabbc"]

    for _ in tasks:
        await row.end_one()

    assert row.served == ["a", "a", "b", "c", "a", "b", "a", "a"]
    await asyncio.gather(*tasks)


async def test_as_many_at_once_as_there_are_places_and_not_one_more() -> None:
    row = Row(2)
    tasks = [await row.ask("a") for _ in range(4)]

    assert len(row.served) == 2
    await row.end_one()
    assert len(row.served) == 3

    for _ in range(3):
        await row.end_one()
    await asyncio.gather(*tasks)
    assert len(row.served) == 4


async def test_one_owner_can_fill_only_his_part_of_the_row() -> None:
    row = Row(1, most_waiting=4, most_waiting_of_one=2)
    tasks = [await row.ask("a") for _ in range(3)]

    with pytest.raises(TooBusy):
        await (await row.ask("a"))
    tasks += [await row.ask(owner) for owner in "bc"]
    with pytest.raises(TooBusy):
        await (await row.ask("d"))

    # Then there is room again as soon as one is served
    await row.end_one()
    tasks.append(await row.ask("d"))
    for _ in range(5):
        await row.end_one()
    await asyncio.gather(*tasks)
    assert row.served == ["a", "a", "b", "c", "a", "d"]


async def test_who_leaves_the_row_takes_no_place_with_him() -> None:
    row = Row(1, most_waiting=2)
    first, second, third = [await row.ask(owner) for owner in "aab"]

    second.cancel()
    await settled()
    fourth = await row.ask("c")
    for _ in range(3):
        await row.end_one()

    await asyncio.gather(first, third, fourth)
    assert second.cancelled()
    assert row.served == ["a", "b", "c"]


@pytest.mark.parametrize("leaves_first", [True, False])
async def test_who_leaves_at_the_moment_of_his_turn_passes_it_on(leaves_first: bool) -> None:
    turns = Turns(1, most_waiting=9, most_waiting_of_one=9)
    served: list[str] = []

    async def take(owner: str) -> None:
        async with turns.turn(owner):
            served.append(owner)

    holding = turns.turn("a")
    await holding.__aenter__()
    waiting = [asyncio.create_task(take(owner)) for owner in "bc"]
    await settled()

    # When the place comes free and its next holder is cancelled before either runs again
    if leaves_first:
        waiting[0].cancel()
        await holding.__aexit__(None, None, None)
    else:
        await holding.__aexit__(None, None, None)
        waiting[0].cancel()
    await asyncio.wait(waiting)

    # Then the next but one has it, and after him anybody
    assert waiting[0].cancelled()
    await take("d")
    assert served == ["c", "d"]
