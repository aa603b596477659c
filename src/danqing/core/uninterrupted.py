"""Moves that are made to their end, whoever stops waiting for them: half of one would leave a job that never runs."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


class Uninterrupted:
    """For one event loop."""

    def __init__(self) -> None:
        self._moves: set[asyncio.Task[object]] = set()

    async def run(self, move: Coroutine[None, None, T]) -> T:
        """What it returns or raises. Goes on even if the caller is cancelled (a client hung up)."""
        task = asyncio.create_task(move)
        self._moves.add(task)  # the event loop alone would let it be collected
        task.add_done_callback(self._moves.discard)
        return await asyncio.shield(task)
