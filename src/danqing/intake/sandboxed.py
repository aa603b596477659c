"""Takes in clients' pictures by way of decoding processes. No picture is ever decoded in the server's own process."""

import asyncio
import hashlib
import secrets
import shutil
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from danqing.core.errors import ShuttingDown, StorageFailure
from danqing.core.images import StagedImage
from danqing.core.picture_ports import ArtifactStore
from danqing.core.threads import in_thread_to_its_end
from danqing.core.turns import Turns
from danqing.intake.decoder import Decoder, DecoderDied
from danqing.intake.limits import IntakeLimits
from danqing.intake.picture_format import HEAD_BYTES, picture_format
from danqing.intake.verdict import Verdict, empty, error_of, not_a_picture, too_many_bytes

log = structlog.get_logger(__name__)

TRIES = 2  # a decoder may die of somebody else's doing: the system's lack of memory, say
_PNG_HEAD_BYTES = 33
_RGBA = 6  # colour type of a PNG


class SandboxedIntake:
    """Implements `core.picture_ports.ImageIntake`. For one event loop. Nothing is started before the first picture
    comes.

    processes: pictures that are decoded at once. Each process is kept for the next picture, and replaced when it dies
    or takes too long. most_waiting, most_waiting_of_one: pictures that wait for one, in all and of one owner.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        *,
        limits: IntakeLimits | None = None,
        processes: int = 2,
        most_waiting: int = 256,
        most_waiting_of_one: int = 64,
    ) -> None:
        self._artifacts = artifacts
        self._limits = limits or IntakeLimits()
        self._turns = Turns(processes, most_waiting=most_waiting, most_waiting_of_one=most_waiting_of_one)
        self._idle: list[Decoder] = []
        self._busy: set[Decoder] = set()
        self._starting = 0  # processes that are in neither of the two yet
        self._none_starts = asyncio.Event()
        self._none_starts.set()
        self._closed = False

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the decoding processes there are now."""
        return tuple(decoder.pid for decoder in (*self._idle, *self._busy))

    async def stage(
        self, content: bytes | Path, *, parameter: str, owner: str = "", as_mask: bool = False
    ) -> StagedImage:
        """See the port. Raises also StorageFailure, ShuttingDown once closed, InternalError if no decoder starts."""
        async with self._turns.turn(owner):
            if self._closed:
                raise ShuttingDown
            token = secrets.token_hex(16)
            folder = await asyncio.to_thread(self._artifacts.staging)
            target, copy = folder / f"{token}.png", folder / f"{token}.upload"
            try:
                return await self._make(content, target, copy, parameter, as_mask)
            except BaseException:
                await in_thread_to_its_end(lambda: _remove(target))
                raise

    async def discard(self, images: Sequence[StagedImage]) -> None:
        """See the port."""
        await in_thread_to_its_end(lambda: _remove(*(image.path for image in images)))

    async def close(self) -> None:
        """Ends the decoding processes; what is being staged is refused. Idempotent."""
        self._closed = True
        for decoder in (*self._idle, *self._busy):
            await decoder.end()
        self._idle.clear()
        await self._none_starts.wait()

    async def _make(
        self, content: bytes | Path, target: Path, copy: Path, parameter: str, as_mask: bool
    ) -> StagedImage:
        """Leaves no copy."""
        try:
            source, head = await in_thread_to_its_end(lambda: _bring(content, copy, self._limits.max_bytes, parameter))
            kind = picture_format(head)
            if kind is None:
                raise not_a_picture(parameter)
            verdict = await self._rebuild(source, target, kind, as_mask)
            if verdict is not Verdict.REBUILT:
                raise error_of(verdict, self._limits, parameter=parameter)
            return await asyncio.to_thread(_inspect, target)
        finally:
            await in_thread_to_its_end(lambda: _remove(copy))

    async def _rebuild(self, source: Path, target: Path, kind: str, as_mask: bool) -> Verdict:
        verdict = Verdict.DAMAGED
        for _ in range(TRIES):
            decoder = await self._take()
            self._busy.add(decoder)
            is_fit = False
            try:
                verdict = await decoder.rebuild(source, target, kind, as_mask=as_mask)
                # What cannot be stored may be so because somebody has replaced the folder that it was confined to.
                unfit = (Verdict.TOO_SLOW, Verdict.TOO_COSTLY, Verdict.NOT_STORED)
                is_fit = verdict not in unfit and not self._closed
            except DecoderDied:
                log.warning("decoder_died", pid=decoder.pid)
                verdict = Verdict.DAMAGED
                continue
            finally:
                if not is_fit:
                    await decoder.end()
                self._busy.discard(decoder)
            if is_fit:
                self._idle.append(decoder)
            if verdict is not Verdict.NOT_STORED:
                return verdict
        return verdict

    async def _take(self) -> Decoder:
        while self._idle:
            decoder = self._idle.pop()
            if decoder.is_alive:
                return decoder
            await decoder.end()
        folder = await asyncio.to_thread(self._artifacts.staging)
        if self._closed:
            raise ShuttingDown
        self._starting += 1
        self._none_starts.clear()
        try:
            decoder = await Decoder.start(self._limits, folder)
            if self._closed:  # which had nothing to end yet
                await decoder.end()
                raise ShuttingDown
            return decoder
        finally:
            self._starting -= 1
            if not self._starting:
                self._none_starts.set()


def _bring(content: bytes | Path, copy: Path, max_bytes: int, parameter: str) -> tuple[Path, bytes]:
    """Returns the file and its first bytes. What is not a file beside copy yet becomes one there."""
    source = copy
    try:
        if isinstance(content, Path):
            if content.stat().st_size > max_bytes:
                raise too_many_bytes(parameter, max_bytes)
            with content.open("rb") as file:
                head = file.read(HEAD_BYTES)
            if content.parent == copy.parent:
                source = content
            else:
                shutil.copyfile(content, copy)
        else:
            if len(content) > max_bytes:
                raise too_many_bytes(parameter, max_bytes)
            head = content[:HEAD_BYTES]
            copy.write_bytes(content)
    except OSError as exc:
        log.error("image_not_staged", reason=exc.strerror)
        raise StorageFailure from exc
    if not head:
        raise empty(parameter)
    return source, head


def _inspect(png: Path) -> StagedImage:
    """By what the file itself says: a decoder that was taken over by a picture could say anything."""
    try:
        with png.open("rb") as file:
            head = file.read(_PNG_HEAD_BYTES)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise StorageFailure from exc
    if len(head) < _PNG_HEAD_BYTES or picture_format(head) != "PNG":
        raise StorageFailure
    width, height, _, colour_type = struct.unpack(">IIBB", head[16:26])
    return StagedImage(path=png, sha256=digest, width=width, height=height, has_alpha=colour_type == _RGBA)


def _remove(*paths: Path) -> None:
    """What cannot be removed is left to the sweep at the next start."""
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)
