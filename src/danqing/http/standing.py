"""Callers whose connections outlast a request: they are told once their key counts no more."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from danqing.core.callers import Caller
from danqing.http.keys import Keys


class Standing:
    """One for all ports of a process. For one event loop."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._watched: dict[Caller, dict[object, Callable[[], None]]] = {}
        if keys.issued is not None:
            keys.issued.when_gone(self._look)

    @contextmanager
    def watched(self, caller: Caller, lost: Callable[[], None]) -> Generator[None]:
        """Inside, lost is called, once, when the caller would not be let in any more; at once if that is so already.

        It must neither block nor raise.
        """
        if not self._keys.still_let_in(caller):
            lost()
            yield
            return
        watch = object()
        watches = self._watched.setdefault(caller, {})
        watches[watch] = lost
        try:
            yield
        finally:
            watches.pop(watch, None)
            if not watches and self._watched.get(caller) is watches:
                del self._watched[caller]

    def _look(self) -> None:
        for caller in [caller for caller in self._watched if not self._keys.still_let_in(caller)]:
            watches = self._watched.pop(caller)
            while watches:
                watches.popitem()[1]()
