"""Engines that misbehave in every way we know of, for real worker processes. The prompt says what to do.

A gate is a file: what waits at it goes on once the test has made the file.
"""

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from danqing.core.engine_port import Observer, Outcome, ReadImage
from danqing.core.errors import DanqingError, EngineFailure, ModelLoadFailure, OutOfMemory
from danqing.core.types import ArtifactKind, DeviceStatus, EncodedPicture, GenerationRequest, RawPicture

STEPS = 4
PARTS = 3
LATER = ", later"  # at the end of a prompt: in the last step instead of the second
ONCE_OPEN = ", once the gate is open"  # the same: its first step waits for that


@dataclass(frozen=True, kw_only=True)
class Zoo:
    """folder: where gates are opened and tracks are left. load: what happens at load ("fine" or a method's name)."""

    folder: Path
    load: str = "fine"
    step_s: float = 0.0

    def open_gate(self, name: str) -> None:
        """Lets everything go on that waits at this gate, now or later."""
        (self.folder / name).touch()

    def close_gate(self, name: str) -> None:
        """What comes to this gate from now on waits again."""
        (self.folder / name).unlink(missing_ok=True)

    def is_open(self, name: str) -> bool:
        """True once the gate was opened."""
        return (self.folder / name).exists()

    def note_batch(self, pictures: int) -> None:
        """Leaves a track of a batch of so many pictures that began."""
        with (self.folder / "track-batches").open("a") as tracks:
            tracks.write(f"{pictures}\n")

    def batches(self) -> list[int]:
        """How many pictures each batch had, in order."""
        return [int(line) for line in (self.folder / "track-batches").read_text().split()]

    def first_time(self, name: str) -> bool:
        """True in one process, once."""
        try:
            (self.folder / f"track-{name}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class _FinishedPicture(RawPicture):
    """prompt: for `enlarge`, which is not told one."""

    prompt: str = ""


def build_zoo(zoo: Zoo) -> "ZooEngine":
    """The factory's target."""
    return ZooEngine(zoo)


class ZooEngine:
    """Implements `core.engine_port.Engine`. A prompt it does not know makes an ordinary picture of one colour: that of
    the first input image's corner or, without one, a red as light as the seed.
    """

    def __init__(self, zoo: Zoo) -> None:
        self._zoo = zoo

    def load(self) -> None:
        match self._zoo.load:
            case "fine":
                pass
            case "fails":
                raise ModelLoadFailure("The model's files are missing.")
            case "fails four times":
                if any(self._zoo.first_time(f"load-{number}") for number in range(4)):
                    raise ModelLoadFailure("The device's memory is in use.")
            case "crashes":
                raise KeyError("a library's words")
            case "dies":
                _kill_self()
            case "dies once":
                if self._zoo.first_time("load"):
                    _kill_self()
            case "dies until the gate is open":
                if not self._zoo.is_open("gate"):
                    _kill_self()
            case "dies but once":
                if not self._zoo.first_time("load"):
                    _kill_self()
            case "hangs":
                time.sleep(3600)
            case unknown:
                raise AssertionError(unknown)

    def device(self) -> DeviceStatus:
        return DeviceStatus(id="cpu", name="zoo", kind="cpu")

    def denoise(
        self, requests: Sequence[GenerationRequest], *, read_image: ReadImage, observers: Sequence[Observer]
    ) -> Sequence[Outcome]:
        """Each step of all before the next step of any."""
        self._zoo.note_batch(len(requests))
        making = [self._steps(*each, read_image) for each in zip(requests, observers, strict=True)]
        outcomes: list[Outcome] = [None] * len(making)
        left = list(range(len(making)))
        while left:
            for i in tuple(left):
                try:
                    next(making[i])
                except StopIteration as end:
                    outcomes[i] = end.value
                except DanqingError as error:
                    outcomes[i] = error
                else:
                    continue
                left.remove(i)
        return outcomes

    def _steps(
        self, request: GenerationRequest, observer: Observer, read_image: ReadImage
    ) -> Generator[None, None, RawPicture | None]:
        colour = _corner(read_image(request.inputs[0])) if request.inputs else (request.seed % 256, 0, 0)
        for step in range(1, STEPS + 1):
            if observer.stopped():
                return None
            if step == 1 and request.prompt.endswith(ONCE_OPEN):
                _wait(lambda: self._zoo.is_open("gate") or observer.stopped())
            if step == 2 and request.prompt.startswith("waits for a watcher"):
                _wait(observer.wants_preview)
            if step == 3 and request.prompt == "waits for a watcher, then at the gate":
                _wait(lambda: self._zoo.is_open("gate") or observer.stopped())
            if step == 1 and request.prompt == "freezes before a step" and self._zoo.first_time("early freeze"):
                time.sleep(3600)
            if step == (STEPS if request.prompt.endswith(LATER) else 2) and not self._misbehave(
                request.prompt.removesuffix(LATER), observer.stopped
            ):
                return None
            time.sleep(self._zoo.step_s)
            _tell_step(step, observer, request.prompt)
            yield
        if request.prompt.removesuffix(ONCE_OPEN) == "makes every step twice":
            for step in range(1, STEPS + 1):
                _tell_step(step, observer, request.prompt)
        return RawPicture(width=1, height=1, rgb=bytes(colour), adjustments=("made in a zoo",))

    def _misbehave(self, prompt: str, stopped: Callable[[], bool]) -> bool:
        """False: give up without a word."""
        match prompt:
            case "dies":
                _kill_self()
            case "dies once":
                if self._zoo.first_time("death"):
                    _kill_self()
            case "exits":
                sys.exit(0)
            case "freezes once":
                if self._zoo.first_time("freeze"):
                    os.kill(os.getpid(), signal.SIGSTOP)
            case "hangs":  # never asks whether it was stopped
                time.sleep(3600)
            case "hangs once":
                if self._zoo.first_time("hang"):
                    time.sleep(3600)
            case "waits at the gate":
                _wait(lambda: self._zoo.is_open("gate") or stopped())
                return not stopped()
            case "fails":
                raise EngineFailure("This picture cannot be made.")
            case "out of memory":
                raise OutOfMemory
            case "out of host memory":
                raise MemoryError
            case "breaks":
                raise KeyError("a library's words")
            case "poisons the device at the gate":
                _wait(lambda: self._zoo.is_open("gate"))
                if self._zoo.first_time("poison"):
                    _raise_sticky()
            case "poisons the device once":
                if self._zoo.first_time("poison"):
                    _raise_sticky()
            case "gives up":
                return False
            case _:
                pass
        return True

    def finish(self, raw: RawPicture, request: GenerationRequest, *, read_image: ReadImage) -> RawPicture:
        width, height = request.width, request.height
        match request.prompt:
            case "wrong size":
                width -= 1
            case "finish waits at the gate":
                _wait(lambda: self._zoo.is_open("gate"))
            case "finish breaks":
                raise OSError("a library's words")
            case _:
                pass
        if request.inputs:
            read_image(request.inputs[0])
        return _FinishedPicture(
            width=width,
            height=height,
            rgb=raw.rgb * (width * height),
            adjustments=("finished in a zoo",),
            prompt=request.prompt,
        )

    def to_enlarge(self, request: GenerationRequest, *, read_image: ReadImage) -> RawPicture:
        image = request.input_images[0]
        colour = _corner(read_image(image))
        rgb = bytes(colour) * (image.width * image.height)
        return _FinishedPicture(width=image.width, height=image.height, rgb=rgb, prompt=request.prompt)

    def enlarge(self, picture: RawPicture, *, on_part: Callable[[int, int], None]) -> RawPicture:
        assert isinstance(picture, _FinishedPicture)
        for part in range(1, PARTS + 1):
            if part == 2:
                self._misbehave_enlarging(picture.prompt)
            on_part(part, PARTS)
        width, height = 4 * picture.width, 4 * picture.height
        if picture.prompt == "enlarges too little":
            width -= 4
        return RawPicture(width=width, height=height, rgb=picture.rgb[:3] * (width * height))

    def _misbehave_enlarging(self, prompt: str) -> None:
        match prompt:
            case "enlarging waits at the gate":
                _wait(lambda: self._zoo.is_open("gate"))
            case "enlarging breaks":
                raise OSError("a library's words")
            case "enlarging exits once":
                if self._zoo.first_time("exit"):
                    sys.exit(0)
            case "enlarging hangs":  # never comes to the end of the part
                time.sleep(3600)
            case "enlarging poisons the device once":
                if self._zoo.first_time("poison"):
                    _raise_sticky()
            case _:
                pass

    def encode(self, picture: RawPicture, request: GenerationRequest, kind: ArtifactKind) -> EncodedPicture:
        if request.prompt == "encoding the preview breaks" and kind is ArtifactKind.PREVIEW:
            raise OSError("a library's words")
        if request.prompt == "encoding the preview waits at the gate" and kind is ArtifactKind.PREVIEW:
            _wait(lambda: self._zoo.is_open("gate"))
        image = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)
        return _encoded(image, "WEBP" if kind is ArtifactKind.PREVIEW else "PNG")


def _tell_step(step: int, observer: Observer, prompt: str) -> None:
    """A preview is as grey as its step is late, or noise where the prompt wants it to be large."""
    if step < STEPS and observer.wants_preview():
        grey = 255 * step // STEPS
        preview = Image.new("RGB", (16, 16), (grey, grey, grey))
        if prompt == "large previews":
            preview = Image.frombytes("RGB", (1024, 1024), os.urandom(3 * 1024 * 1024))
        observer.preview_made(step, STEPS, _encoded(preview, "JPEG"))
    observer.step_done(step, STEPS)


def _encoded(image: Image.Image, file_format: str) -> EncodedPicture:
    file = io.BytesIO()
    image.save(file, file_format, **({"compress_level": 1} if file_format == "PNG" else {}))
    return EncodedPicture(
        width=image.width, height=image.height, media_type=f"image/{file_format.lower()}", content=file.getvalue()
    )


def _corner(png: bytes) -> tuple[int, ...]:
    with Image.open(io.BytesIO(png)) as image:
        corner = image.convert("RGB").getpixel((0, 0))
        assert isinstance(corner, tuple)
        return tuple(int(part) for part in corner)


def _wait(come: Callable[[], bool]) -> None:
    while not come():
        time.sleep(0.002)


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(3600)  # the signal is on its way


def _raise_sticky() -> None:
    try:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    except RuntimeError as exc:
        raise EngineFailure from exc
