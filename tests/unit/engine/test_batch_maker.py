"""Batches on a device of little memory, with a fake model whose needs are plain numbers."""

import dataclasses
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from danqing.core.capabilities import FreeSizes, ModelCard
from danqing.core.engine_port import Outcome
from danqing.core.errors import EngineFailure, OutOfMemory, TooLargeForDevice
from danqing.core.types import ModelStatus, RawPicture
from danqing.engine.batch_maker import BatchMaker, Pending
from danqing.engine.device import Device, MemoryUse
from danqing.engine.families.adapter import (
    AdapterOptions,
    MadePicture,
    ModelMemory,
    Order,
    StepWatcher,
    Unwatched,
)
from danqing.engine.memory_plan import Peaks
from danqing.engine.prompt_cache import PromptCache
from danqing.engine.residency import Residency
from danqing.engine.resident_model import ResidentModel
from tests.fakes.domain import a_card, a_request

WEIGHTS, LARGEST_PART = 1000, 400
PIXEL, TILED_PIXEL = 0.01, 0.005  # bytes
SIZE = (1024, 1024)
PICTURE = int(1024 * 1024 * PIXEL)


class FakeAdapter:
    """A `FamilyAdapter`. fail: what goes wrong in the next calls, one after another; None: nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, str]] = []  # pictures, and how they were made
        self.fail: list[Exception | None] = []
        self.stopped = False
        self.taken: int | None = None  # of working memory, as the device measures it
        self.offloading = False
        self.unloaded = 0
        self.can_offload = True

    def load(self) -> None:
        """Nothing to read."""

    def make(
        self, orders: Sequence[Order], size: tuple[int, int], *, watchers: Sequence[StepWatcher], spare_memory: bool
    ) -> list[MadePicture | None]:
        way = "offloaded" if self.offloading else "tiled" if spare_memory else "plain"
        self.calls.append((len(orders), way))
        if self.fail and (error := self.fail.pop(0)):
            raise error
        if self.stopped:
            return [None] * len(orders)
        return [MadePicture(rgb=np.zeros((size[1], size[0], 3), np.uint8)) for _ in orders]

    @contextmanager
    def offloaded(self) -> Generator[None]:
        self.offloading = True
        try:
            yield
        finally:
            self.offloading = False

    def unload(self) -> None:
        self.unloaded += 1

    def to_host(self) -> bool:
        return True

    def to_device(self) -> None:
        """It has no weight."""

    def memory(self) -> ModelMemory:
        leanest = LARGEST_PART if self.can_offload else None
        return ModelMemory(total=WEIGHTS, held=WEIGHTS, running=WEIGHTS, leanest=leanest)

    def status(self) -> ModelStatus:
        return ModelStatus(
            id="x",
            placement="whole",
            precision="native",
            dtype="x",
            attention="x",
            compiled=False,
            vae="x",
            step_cache=False,
        )

    def working_bytes(self, size: tuple[int, int], pictures: int, *, guided: bool, tiled: bool, offloaded: bool) -> int:
        return int(size[0] * size[1] * pictures * (TILED_PIXEL if tiled else PIXEL) * (2 if guided else 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FakeDevice(Device):
    """So many bytes, all of them free."""

    capacity: int
    adapter: FakeAdapter

    def capacity_bytes(self) -> int:
        return self.capacity

    def free_bytes(self) -> int:
        return self.capacity

    @contextmanager
    def measured(self) -> Generator[MemoryUse]:
        use = MemoryUse()
        yield use
        use.working_bytes = self.adapter.taken


class House:
    """A maker with one model."""

    def __init__(self, capacity: int, *, peaks: Peaks | None = None, can_offload: bool = True) -> None:
        self.adapter = FakeAdapter()
        self.adapter.can_offload = can_offload
        self.host_free = [10**12]  # bytes, as it is seen from now on, the last for good
        rules = FreeSizes(multiple_of=64, min_side=64, max_pixels=4096 * 4096)
        card = a_card()
        self.card: ModelCard = dataclasses.replace(
            card, capabilities=dataclasses.replace(card.capabilities, size_rules=rules)
        )
        device = FakeDevice(
            torch_device=torch.device("cpu"), dtype=torch.float32, name="x", capacity=capacity, adapter=self.adapter
        )
        options = AdapterOptions(
            device=device, compile=False, cpu_offload=False, attention=None, prompts=PromptCache(max_bytes=0)
        )
        self.models = {self.card.id: ResidentModel(self.card, options, adapter=lambda *_: self.adapter)}
        self.peaks = peaks or Peaks(None)
        residency = Residency(
            self.models,
            capacity_bytes=device.capacity_bytes,
            free_bytes=device.free_bytes,
            host_free_bytes=lambda: self.host_free.pop(0) if len(self.host_free) > 1 else self.host_free[0],
            tidy=lambda: None,
        )
        self.maker = BatchMaker(self.models, residency=residency, device=device, peaks=self.peaks)

    def make(self, pictures: int = 1, size: tuple[int, int] = SIZE, **changes: object) -> list[Outcome]:
        fields = {"model": self.card.id, "width": size[0], "height": size[1], "guidance_scale": 0.0, **changes}
        request = a_request(**fields)
        return self.maker.make([Pending(Order(request=request), Unwatched())] * pictures, size)


def room_for(pictures: float) -> int:
    return WEIGHTS + int(PICTURE * 1.1 * pictures) + 10


def out_of_memory() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("room, calls", [(4, [4]), (3, [2, 2]), (1, [1, 1, 1, 1])], ids=["all of them", "three", "one"])
def test_a_batch_is_split_beforehand_as_memory_allows(room: float, calls: list[int]) -> None:
    house = House(room_for(room))
    assert all(isinstance(made, RawPicture) for made in house.make(4))
    assert house.adapter.calls == [(count, "plain") for count in calls]


@pytest.mark.parametrize(
    "capacity, way",
    [
        (room_for(1), "plain"),
        (room_for(0.9), "tiled"),
        (room_for(0.5), "tiled"),
        (room_for(0.5) - WEIGHTS + LARGEST_PART, "offloaded"),
    ],
)
def test_what_does_not_fit_one_way_is_made_in_another_from_the_start(capacity: int, way: str) -> None:
    house = House(capacity)
    (made,) = house.make()
    assert isinstance(made, RawPicture)
    assert house.adapter.calls == [(1, way)]


def test_what_fits_in_no_way_is_refused_with_the_size_that_would() -> None:
    # Given a device that holds a picture of 1024 x 1024 in its leanest way
    house = House(room_for(0.5) - WEIGHTS + LARGEST_PART)
    # When one of another size is asked for
    outcomes = house.make(2, (1536, 1536))
    # Then nothing is tried, and both are told what would fit
    assert not house.adapter.calls
    for outcome in outcomes:
        assert isinstance(outcome, TooLargeForDevice)
        assert outcome.public_message == (
            f"1536x1536 does not fit on this device with model {house.card.id}; the largest that fits is 1024x1024."
        )
    assert not TooLargeForDevice.retryable
    (small,) = house.make(1, (1024, 1024))
    assert isinstance(small, RawPicture)


def test_a_model_that_leaves_no_room_at_all_says_so() -> None:
    house = House(WEIGHTS, can_offload=False)
    (outcome,) = house.make()
    assert isinstance(outcome, TooLargeForDevice)
    assert outcome.public_message.endswith("; no size fits.")


def test_guidance_takes_more() -> None:
    house = House(room_for(1), can_offload=False)
    house.make(guidance_scale=3.0)
    assert house.adapter.calls == [(1, "plain" if not house.card.capabilities.guidance else "tiled")]


def test_what_was_measured_counts_from_then_on(tmp_path: Path) -> None:
    # Given a device that the estimate finds too small for two
    house = House(room_for(1.5), peaks=Peaks(tmp_path / "peaks.json"))
    house.adapter.taken = PICTURE // 4
    house.make(2)
    # When it was seen how little one takes, two are made together
    house.make(2)
    assert house.adapter.calls == [(1, "plain"), (1, "plain"), (2, "plain")]
    # And a new process knows that from the start
    later = House(room_for(1.5), peaks=Peaks(tmp_path / "peaks.json"))
    later.make(2)
    assert later.adapter.calls == [(2, "plain")]


def test_a_stopped_picture_teaches_nothing() -> None:
    house = House(room_for(1.5))
    house.adapter.stopped, house.adapter.taken = True, 1
    assert house.make() == [None]
    house.adapter.stopped = False
    house.make(2)
    assert house.adapter.calls[1:] == [(1, "plain"), (1, "plain")]


def test_out_of_memory_all_the_same_goes_down_the_ladder() -> None:
    house = House(room_for(8))
    house.adapter.fail = [out_of_memory()] * 3
    made = house.make(2)
    assert all(isinstance(each, RawPicture) for each in made)
    assert house.adapter.calls == [(2, "plain"), (1, "plain"), (1, "tiled"), (1, "offloaded"), (1, "plain")]


@pytest.mark.parametrize("can_offload", [True, False])
def test_at_its_end_is_an_error_and_the_next_picture_is_made(can_offload: bool) -> None:
    house = House(room_for(8), can_offload=can_offload)
    tries = 3 if can_offload else 2
    house.adapter.fail = [out_of_memory()] * tries
    (outcome,) = house.make()
    assert type(outcome) is OutOfMemory
    assert len(house.adapter.calls) == tries
    # After a failed offloading nobody knows where the parts are: the model is read again
    assert house.adapter.unloaded == (1 if can_offload else 0)
    (made,) = house.make()
    assert isinstance(made, RawPicture)


def test_offloading_needs_room_on_the_host() -> None:
    # Given a picture that fits in no other way, and a host that has no room for the weights
    house = House(room_for(0.5) - WEIGHTS + LARGEST_PART)
    house.host_free = [WEIGHTS - 1]
    (outcome,) = house.make()
    assert isinstance(outcome, TooLargeForDevice)
    assert not house.adapter.calls
    house.host_free = [WEIGHTS]
    (made,) = house.make()
    assert isinstance(made, RawPicture)


def test_where_the_hosts_room_is_gone_before_the_weights_leave_they_stay() -> None:
    house = House(room_for(0.5) - WEIGHTS + LARGEST_PART)
    house.make()
    house.host_free = [WEIGHTS, WEIGHTS, WEIGHTS - 1]
    (outcome,) = house.make()
    assert type(outcome) is OutOfMemory
    assert outcome.public_message == "The host's memory has no room for the model's weights."
    assert house.adapter.calls == [(1, "offloaded")]
    assert not house.adapter.unloaded


def test_the_last_try_is_not_made_without_room_on_the_host() -> None:
    house = House(room_for(8))
    house.host_free = [WEIGHTS - 1]
    house.adapter.fail = [out_of_memory()] * 3
    (outcome,) = house.make()
    assert type(outcome) is OutOfMemory
    assert house.adapter.calls == [(1, "plain"), (1, "tiled")]


def test_pictures_with_a_step_cache_are_made_alone() -> None:
    house = House(room_for(8))
    assert all(isinstance(made, RawPicture) for made in house.make(3, step_cache=0.1))
    assert house.adapter.calls == [(1, "plain")] * 3


def test_another_failure_ends_it_at_once() -> None:
    house = House(room_for(8))
    house.adapter.fail = [RuntimeError("CUDA error")]
    (outcome,) = house.make()
    assert type(outcome) is EngineFailure
    assert house.adapter.calls == [(1, "plain")]


def test_a_model_that_cannot_be_loaded_is_each_pictures_error() -> None:
    house = House(room_for(8))

    def unloadable() -> None:
        raise RuntimeError("damaged")

    house.adapter.load = unloadable  # type: ignore[method-assign]
    outcomes = house.make(2)
    assert [getattr(outcome, "code", None) for outcome in outcomes] == ["model_load_failure"] * 2
