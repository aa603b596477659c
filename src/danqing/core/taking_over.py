"""Input images on their way from staged files to a job: taken over, and given up again if no job came of it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from danqing.core.errors import ArtifactNotFound, StorageFailure
from danqing.core.images import StagedImage, ref_of
from danqing.core.picture_ports import ArtifactStore
from danqing.core.place_guard import GuardRules, PlaceGuard
from danqing.core.threads import in_thread_to_its_end

REMOVING_THREADS = 4  # pictures that are removed at once
T = TypeVar("T")


@dataclass
class _Name:
    """An input image that submits are busy with. fresh: it was not there before; kept: a job has it."""

    takers: int = 0
    fresh: bool = False
    kept: bool = False


class TakenOver:
    """What `InputImages.taken_over` yields."""

    def __init__(self) -> None:
        self.kept = False

    def keep(self) -> None:
        """A job has the pictures now."""
        self.kept = True


class InputImages:
    """Names are made from content, so several submits at once may be busy with one. For one event loop.

    kept_s: with 0, no other process takes pictures over into this place. Else others do, and nobody knows what theirs
    are busy with: then none is removed that was written, or wanted again, within so many seconds. rules: for a place
    that does not answer.
    """

    def __init__(self, artifacts: ArtifactStore, *, kept_s: float = 0.0, rules: GuardRules | None = None) -> None:
        rules = rules or GuardRules()
        self._artifacts = artifacts
        self._kept_s = kept_s
        self._guard = PlaceGuard(rules)
        # Its own: while the place does not answer, submits with pictures wait for each other, and for nobody else.
        self._threads = ThreadPoolExecutor(rules.at_once + REMOVING_THREADS, thread_name_prefix="input-images")
        self._names: dict[str, _Name] = {}
        self._removing: dict[str, asyncio.Event] = {}  # set when it is known whether the picture is still there

    def taken_over(self, images: Sequence[StagedImage]) -> AbstractAsyncContextManager[TakenOver]:
        """Inside, the pictures are stored. Afterwards those are removed again that came with it and nobody kept; with
        kept_s, `reconcile` does that later.

        Raises StorageFailure, Unavailable where the place does not answer, or ArtifactNotFound for a staged file that
        is gone.
        """
        return self._taken_over(images) if images else nullcontext(TakenOver())

    @asynccontextmanager
    async def _taken_over(self, images: Sequence[StagedImage]) -> AsyncGenerator[TakenOver]:
        result = TakenOver()
        names = list(dict.fromkeys(ref_of(image).name for image in images))
        while removing := next((self._removing[name] for name in names if name in self._removing), None):
            await removing.wait()
        for name in names:
            self._names.setdefault(name, _Name()).takers += 1
        try:
            for image in dict.fromkeys(images):
                async with self._guard.call():
                    await self._in_thread(partial(self._take, image, self._names[ref_of(image).name]))
            yield result
        finally:
            await self._leave(names, result.kept)

    async def remove_unused(self, names: Collection[str], in_use: Callable[[], Awaitable[Collection[str]]]) -> set[str]:
        """Removes the pictures of these names, but for those in use. Returns the names that submits are or may be busy
        with.

        in_use: asked while submits that want one of them wait. Raises StorageFailure.
        """
        free = [name for name in names if name not in self._names and name not in self._removing]
        decided, young = asyncio.Event(), set[str]()
        self._removing |= dict.fromkeys(free, decided)
        try:
            used = await in_use()
            for name in free:
                if name not in used and not await self._in_thread(partial(self._remove_old, name)):
                    young.add(name)
        finally:
            for name in free:
                del self._removing[name]
            decided.set()
        return set(names) - set(free) | young

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await in_thread_to_its_end(work, executor=self._threads)

    def _remove_old(self, name: str) -> bool:
        """False for one that stays because it is not old enough. Blocking."""
        if self._kept_s > 0:
            try:
                if self._artifacts.age_s(name) < self._kept_s:
                    return False
            except ArtifactNotFound:
                return True
        if self._artifacts.remove_all([name]):
            raise StorageFailure
        return True

    def _take(self, image: StagedImage, state: _Name) -> None:
        """Notes in the state if the picture was not there before. One that was is taken over again: whoever brought it
        may not have it on the disk yet, and where others take pictures over it is new, and nobody's to remove.
        Blocking.
        """
        name = ref_of(image).name
        try:
            self._artifacts.size(name)
        except ArtifactNotFound:
            state.fresh = True  # before: what fails halfway may have left the picture too
        self._artifacts.adopt(image.path, name)

    async def _leave(self, names: Sequence[str], kept: bool) -> None:
        """Who wants one of these pictures meanwhile waits until it is known whether it is there."""
        unwanted = [name for name in names if self._is_unwanted(name, kept)]
        if not unwanted:
            return
        decided = asyncio.Event()
        self._removing |= dict.fromkeys(unwanted, decided)
        try:
            await self._in_thread(partial(self._remove, unwanted))
        finally:
            for name in unwanted:
                del self._removing[name]
            decided.set()

    def _is_unwanted(self, name: str, kept: bool) -> bool:
        """Counts one taker less; True if it was the last, and no job has the picture that came with them."""
        state = self._names[name]
        state.kept |= kept
        state.takers -= 1
        if state.takers:
            return False
        del self._names[name]
        return state.fresh and not state.kept and self._kept_s == 0

    def _remove(self, names: Sequence[str]) -> None:
        """One that cannot be removed is logged, and left to the next start of the server. Blocking."""
        for name in names:
            with suppress(StorageFailure):
                self._artifacts.remove(name)
