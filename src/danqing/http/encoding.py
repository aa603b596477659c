"""Where stored pictures are encoded anew for clients: few at a time, in threads that nothing else waits for."""

import os
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from danqing.core.threads import in_thread_to_its_end
from danqing.core.turns import Turns

_CORES = os.cpu_count() or 1
MOST_WAITING = 1024
MOST_WAITING_OF_ONE = 256
ADDRESSES_AT_ONCE = max(1, _CORES // 4)
ANSWERED_AT_ONCE = max(2, _CORES // 2)


class EncodingLane:
    """For one event loop. Its threads are started when they are needed.

    at_once: pictures that are encoded, or in memory to be. most_waiting, most_waiting_of_one: that may wait for it, in
    all and of one owner.
    """

    def __init__(
        self, at_once: int, *, most_waiting: int = sys.maxsize, most_waiting_of_one: int = sys.maxsize
    ) -> None:
        self._turns = Turns(at_once, most_waiting=most_waiting, most_waiting_of_one=most_waiting_of_one)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="encoding")

    async def encoded(
        self, owner: str, read: Callable[[], Awaitable[bytes]], encode: Callable[[bytes], bytes]
    ) -> bytes:
        """What encode makes, in a thread, of what read answers, which is only read when it is the owner's turn.

        Raises TooBusy where too many wait, and what those two raise.
        """
        async with self._turns.turn(owner):
            content = await read()
            return await in_thread_to_its_end(lambda: encode(content), executor=self._threads)


class Encoding:
    """Three lanes, for whoever waits for his own new picture is not to wait behind addresses that can be made up by the
    hundred, and asked for at once.

    addresses: of pictures by address; whoever asks can ask again. answers: of pictures that have just been made, which
    are never refused. partial: of those that are under way, which are in memory, and wait for no store.
    """

    def __init__(self) -> None:
        self.addresses = EncodingLane(
            ADDRESSES_AT_ONCE, most_waiting=MOST_WAITING, most_waiting_of_one=MOST_WAITING_OF_ONE
        )
        self.answers = EncodingLane(ANSWERED_AT_ONCE)
        self.partial = EncodingLane(1)
