"""When Python's garbage collector looks for cycles: not while a process starts, and seldom among what stays.

Importing finds it next to nothing (ten thousand objects of half a million), and it looks through all of them again and
again: a quarter of the time went there that a worker takes until it has its model.
"""

import gc
from collections.abc import Generator
from contextlib import contextmanager

_THRESHOLDS = 50_000, 20, 20  # see `gc`; a megabyte or ten of cycles may wait for it


def keep_apart() -> None:
    """What there is stays, and is not looked through again."""
    gc.freeze()


def go_on() -> None:
    """Ends the pause, if there is one, before its end: what comes now makes cycles, or takes long."""
    gc.enable()


def clear() -> None:
    """What there is of cycles goes: at the end of what made many, so that `spare` does not keep them."""
    gc.collect()


@contextmanager
def paused() -> Generator[None]:
    """Nothing is looked for inside, or until `go_on` or `spare`, unless somebody asks for it by `gc.collect`."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def spare() -> None:
    """After the start: what it has made stays, and the garbage collector is not to look through it again and again; and
    seldom for cycles among what is new, for nearly all goes without it.

    A third of the time that a submit takes went there. It does not look now: it would find a thousand objects of
    190,000, in a seventh of a second in which a server that has just told that it is ready answers nobody.
    """
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    gc.enable()
