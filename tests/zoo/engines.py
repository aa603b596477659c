"""Engines that misbehave in every way we know of, for real worker processes. The prompt says what to do.

A gate is a file: what waits at it goes on once the test has made the file.
"""

import io
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from danqing.core.errors import EngineFailure, ModelLoadFailure, OutOfMemory
from danqing.core.types import DeviceStatus, EncodedPicture, GenerationRequest, RawPicture

STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Zoo:
    """folder: where gates are opened and tracks are left. load: what happens at load ("fine" or a method's name)."""

    folder: Path
    load: str = "fine"
    step_s: float = 0.0

    def open_gate(self, name: str) -> None:
        """Lets everything go on that waits at this gate, now or later."""
        (self.folder / name).touch()

    def is_open(self, name: str) -> bool:
        """True once the gate was opened."""
        return (self.folder / name).exists()

    def first_time(self, name: str) -> bool:
        """True in one process, once."""
        try:
            (self.folder / f"track-{name}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def build_zoo(zoo: Zoo) -> "ZooEngine":
    """The factory's target."""
    return ZooEngine(zoo)


class ZooEngine:
    """Implements `core.ports.Engine`. A prompt it does not know makes an ordinary picture of one colour."""

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
        self, request: GenerationRequest, *, on_step: Callable[[int, int], None], stopped: Callable[[], bool]
    ) -> RawPicture | None:
        for step in range(1, STEPS + 1):
            if stopped():
                return None
            if step == 2 and not self._misbehave(request.prompt, stopped):
                return None
            time.sleep(self._zoo.step_s)
            on_step(step, STEPS)
        if request.prompt == "makes every step twice":
            for step in range(1, STEPS + 1):
                on_step(step, STEPS)
        return RawPicture(width=1, height=1, rgb=bytes((request.seed % 256, 0, 0)))

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
            case "out of memory":
                raise OutOfMemory
            case "out of host memory":
                raise MemoryError
            case "breaks":
                raise KeyError("a library's words")
            case "poisons the device once":
                if self._zoo.first_time("poison"):
                    _raise_sticky()
            case "gives up":
                return False
            case _:
                pass
        return True

    def finish(self, raw: RawPicture, request: GenerationRequest) -> EncodedPicture:
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
        file = io.BytesIO()
        Image.new("RGB", (width, height), tuple(raw.rgb)).save(file, "PNG", compress_level=1)
        return EncodedPicture(width=width, height=height, media_type="image/png", content=file.getvalue())


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
