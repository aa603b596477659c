"""The other API processes, to which the same clients may be connected: what a part tells itself over there."""

from collections.abc import Callable
from typing import Protocol


class Neighbours(Protocol):
    """For one event loop. What is said may be lost."""

    def say(self, topic: str, words: str) -> None:
        """To whoever hears of that topic in another process. Never waits."""
        ...

    def hear(self, topic: str, heard: Callable[[str], None]) -> None:
        """From now on heard is called with what others say, and must not raise."""
        ...


class NoNeighbours:
    """There is no other process."""

    def say(self, topic: str, words: str) -> None:
        """Nobody hears it."""

    def hear(self, topic: str, heard: Callable[[str], None]) -> None:
        """Nobody says anything."""
