"""Which models are on the device: brought there when they are needed; the least recently used one leaves for another.

Knows nothing of what a model is.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog

from danqing.core.errors import EngineFailure, OutOfMemory

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class WeightSize:
    """total_bytes: of all weights, wherever they are. device_bytes: of those that stay on the device between pictures:
    all of them, unless parts are brought there only while they run.
    """

    total_bytes: int
    device_bytes: int


class Resident(Protocol):
    """A model as far as its place is concerned. `load`, `to_host` and `to_device` raise EngineFailure (OutOfMemory,
    ModelLoadFailure), after which nothing but `unload` may be called.
    """

    def load(self) -> None:
        """Reads the weights, and brings them to the device."""
        ...

    def to_host(self) -> bool:
        """From the device to the host's memory; False, with nothing done, where that cannot be."""
        ...

    def to_device(self) -> None:
        """Back again."""
        ...

    def unload(self) -> None:
        """Gives all memory back, wherever the weights are, or half of them. Fine when there are none."""
        ...

    def size(self) -> WeightSize | None:
        """Of what is loaded; before that as its files say, None where they do not."""
        ...


class Place(StrEnum):
    """Where a model's weights are."""

    DISK = "disk"
    HOST = "host"
    DEVICE = "device"


class Residency:
    """The models of one device. For one thread.

    A model that leaves the device goes to the host's memory if that has room, else it is unloaded and read again later.
    Where the device is the host there is no such place, and leaving means unloading.
    """

    def __init__(
        self,
        models: Mapping[str, Resident],
        *,
        capacity_bytes: Callable[[], int],
        free_bytes: Callable[[], int],
        host_free_bytes: Callable[[], int] | None,
        tidy: Callable[[], None],
    ) -> None:
        """models: the default one first. capacity_bytes: that all of them and their work may take of the device.

        free_bytes: of the device, now. host_free_bytes: of the host, now; None: the device is the host. tidy: called
        when something has left, so that its memory is free.
        """
        self._models = dict(models)
        self._capacity_bytes = capacity_bytes
        self._free_bytes = free_bytes
        self._host_free_bytes = host_free_bytes
        self._tidy = tidy
        self._places = dict.fromkeys(models, Place.DISK)
        self._last_used: dict[str, None] = {}  # the least recently used one first

    def place(self, model: str) -> Place:
        """Where it is now."""
        return self._places[model]

    def start(self, *, working_bytes: Callable[[], int]) -> None:
        """Brings the default model to the device, and of the others those that fit beside it, and none for whose sake
        another one would have to leave.

        working_bytes: that a picture takes beside the weights, asked once the default model is loaded.
        Raises EngineFailure if the default model cannot be loaded, or if another one is not whole.
        """
        default, *others = self._models
        self.use(default)
        for model in others:
            size = self._models[model].size()
            if size is not None and not self._fits(size.device_bytes + working_bytes()):
                log.info("model_left_for_first_use", model=model, reason="the device has no room for it")
                continue
            try:
                self._bring(model)
            except OutOfMemory:
                log.info("model_left_for_first_use", model=model, reason="the device has no room for it")
        self._touch(default)

    def use(self, model: str, *, working_bytes: int = 0) -> None:
        """Brings it to the device, and makes room for its work; others leave for that, the least recently used first.

        working_bytes: that it will take beside its weights. Where that is not free even with all others gone, nobody
        says so here: it is tried. Raises EngineFailure; the model is on no device then.
        """
        self._touch(model)
        while True:
            size = None if self._places[model] is Place.DEVICE else self._models[model].size()
            self._make_room((size.device_bytes if size else 0) + working_bytes, keep=model)
            if self._places[model] is Place.DEVICE:
                return
            try:
                self._bring(model)
            except OutOfMemory:
                if (other := self._next_to_leave(keep=model)) is None:
                    raise
                log.warning("model_does_not_fit_yet", model=model)
            else:
                return
            # Only here, where the error is gone and with it the frames that held what was half loaded.
            self._tidy()
            self._evict(other)

    def use_alone(self, model: str) -> None:
        """As `use`, and all others leave, whether or not there is room."""
        while (other := self._next_to_leave(keep=model)) is not None:
            self._evict(other)
        self.use(model)

    def host_room_bytes(self, model: str) -> int:
        """What the host's memory could have for the model, with all others gone from it; 0 if that is the device."""
        if self._host_free_bytes is None:
            return 0
        return self._host_free_bytes() + sum(self._on_host(other) for other in self._models if other != model)

    def make_host_room(self, model: str, needed_bytes: int) -> None:
        """For a model's weights to leave the device for a while; others leave the host's memory for that, the least
        recently used first. Raises OutOfMemory if there is not enough even so.
        """
        self._make_room_on_host(model, needed_bytes)
        if self._host_free_bytes is not None and self._host_free_bytes() < needed_bytes:
            raise OutOfMemory("The host's memory has no room for the model's weights.")

    def drop(self, model: str) -> None:
        """It gives its memory back, and is read again when it is used."""
        self._unload(model, time.monotonic())

    def unload(self) -> None:
        """All models give their memory back."""
        for model in self._models.values():
            model.unload()
        self._places = dict.fromkeys(self._models, Place.DISK)
        self._last_used.clear()

    def _touch(self, model: str) -> None:
        self._last_used.pop(model, None)
        self._last_used[model] = None

    def _fits(self, needed_bytes: int) -> bool:
        held = sum(self._on_device(model) for model in self._models)
        return needed_bytes <= min(self._free_bytes(), self._capacity_bytes() - held)

    def _make_room(self, needed_bytes: int, *, keep: str) -> None:
        while not self._fits(needed_bytes) and (other := self._next_to_leave(keep=keep)) is not None:
            self._evict(other)

    def _next_to_leave(self, *, keep: str) -> str | None:
        """Of those whose going makes room on the device."""
        return next((model for model in self._last_used if model != keep and self._on_device(model)), None)

    def _on_device(self, model: str) -> int:
        size = self._models[model].size() if self._places[model] is Place.DEVICE else None
        return size.device_bytes if size else 0

    def _on_host(self, model: str) -> int:
        size = self._models[model].size() if self._places[model] is not Place.DISK else None
        return size.total_bytes - self._on_device(model) if size else 0

    def _bring(self, model: str) -> None:
        resident, origin, started = self._models[model], self._places[model], time.monotonic()
        try:
            if origin is Place.HOST:
                resident.to_device()
            else:
                if (size := resident.size()) is not None:
                    self._make_room_on_host(model, size.total_bytes)
                resident.load()
        except EngineFailure:
            resident.unload()
            self._places[model] = Place.DISK
            raise
        self._places[model] = Place.DEVICE
        self._last_used.setdefault(model)
        if origin is Place.HOST:  # who reads it from the disk has more to say
            log.info("model_loaded", model=model, origin=str(origin), seconds=round(time.monotonic() - started, 2))

    def _make_room_on_host(self, model: str, needed_bytes: int) -> None:
        """Weights pass through the host's memory, or stay there: models that wait in it are unloaded for that."""
        if self._host_free_bytes is None:
            return
        while needed_bytes > self._host_free_bytes():
            waiting = (other for other in self._last_used if other != model and self._on_host(other))
            if (other := next(waiting, None)) is None:
                return
            self._unload(other, time.monotonic())

    def _evict(self, model: str) -> None:
        started, resident, size = time.monotonic(), self._models[model], self._models[model].size()
        host_free = self._host_free_bytes() if self._host_free_bytes else 0
        try:
            moved = size is not None and size.device_bytes <= host_free and resident.to_host()
        except EngineFailure:
            moved = False  # and half of it may be here, half there
        if not moved:
            self._unload(model, started)
            return
        self._places[model] = Place.HOST
        self._tidy()
        log.info("model_evicted", model=model, to=str(Place.HOST), seconds=round(time.monotonic() - started, 2))

    def _unload(self, model: str, started: float) -> None:
        self._models[model].unload()
        self._places[model] = Place.DISK
        self._tidy()
        log.info("model_evicted", model=model, to=str(Place.DISK), seconds=round(time.monotonic() - started, 2))
