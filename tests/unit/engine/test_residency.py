"""Models on and off a device, with fakes that count bytes."""

from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from danqing.core.errors import EngineFailure, ModelLoadFailure, OutOfMemory
from danqing.engine.residency import Place, Residency, WeightSize


@dataclass
class Machine:
    """A device and a host of so many bytes."""

    device: int = 100
    host: int = 100
    shared: bool = False  # the device is the host
    models: dict[str, "Model"] = field(default_factory=dict[str, "Model"])
    tidied: int = 0

    def used(self, place: Place) -> int:
        return sum(model.bytes for model in self.models.values() if model.place is place)

    def residency(self, **models: "Model") -> Residency:
        self.models = models
        for model in models.values():
            model.machine = self
        return Residency(
            models,
            capacity_bytes=lambda: self.device,
            free_bytes=lambda: self.device - self.used(Place.DEVICE),
            host_free_bytes=None if self.shared else lambda: self.host - self.used(Place.HOST),
            tidy=self.tidy,
        )

    def tidy(self) -> None:
        self.tidied += 1

    def places(self) -> str:
        """A letter a model: d(evice), h(ost) or - (the disk)."""
        return "".join("-" if model.place is Place.DISK else model.place[0] for model in self.models.values())


@dataclass
class Model:
    """A `Resident`. known: its files say how large it is. offloaded: its parts come to the device only as they run."""

    bytes: int
    known: bool = True
    movable: bool = True
    offloaded: bool = False
    broken: type[EngineFailure] | None = None
    place: Place = Place.DISK
    told: list[str] = field(default_factory=list[str])
    machine: Machine = field(default_factory=Machine)

    def load(self) -> None:
        self.told.append("load")
        if self.broken:
            raise self.broken
        self._arrive()

    def to_host(self) -> bool:
        if not self.movable:
            return False
        self.told.append("to_host")
        if self.broken:
            raise self.broken
        self.place = Place.HOST
        return True

    def to_device(self) -> None:
        self.told.append("to_device")
        self._arrive()

    def unload(self) -> None:
        if self.place is not Place.DISK:
            self.told.append("unload")
        self.place = Place.DISK

    def size(self) -> WeightSize | None:
        if not self.known and self.place is Place.DISK:
            return None
        return WeightSize(total_bytes=self.bytes, device_bytes=0 if self.offloaded else self.bytes)

    def _arrive(self) -> None:
        if not self.offloaded and self.bytes + self.machine.used(Place.DEVICE) > self.machine.device:
            raise OutOfMemory
        self.place = Place.HOST if self.offloaded else Place.DEVICE


def test_at_start_the_default_is_loaded_and_of_the_others_what_fits_beside_it_and_its_work() -> None:
    machine = Machine(device=100)
    residency = machine.residency(a=Model(40), b=Model(50), c=Model(30))
    residency.start(working_bytes=lambda: 20)
    assert machine.places() == "d-d"
    assert not machine.models["b"].told


def test_at_start_a_model_of_unknown_size_is_tried() -> None:
    machine = Machine(device=100)
    residency = machine.residency(a=Model(60), b=Model(50, known=False), c=Model(30, known=False))
    residency.start(working_bytes=lambda: 0)
    assert machine.places() == "d-d"
    assert machine.models["b"].told == ["load"]


def test_at_start_a_model_that_is_not_whole_is_an_error() -> None:
    residency = Machine().residency(a=Model(10), b=Model(10, broken=ModelLoadFailure))
    with pytest.raises(ModelLoadFailure):
        residency.start(working_bytes=lambda: 0)


def test_the_least_recently_used_one_leaves_and_comes_back() -> None:
    # Given a device that holds two of three
    machine = Machine(device=100, host=200)
    residency = machine.residency(a=Model(40), b=Model(40), c=Model(40))
    residency.start(working_bytes=lambda: 0)
    assert machine.places() == "dd-"
    # When the third is needed, the one that was used longest ago makes room, into the host's memory
    residency.use("b")
    residency.use("a")
    residency.use("c")
    assert machine.places() == "dhd"
    # And it comes back from there, in the place of the next one
    residency.use("b")
    assert machine.places() == "hdd"
    assert machine.models["b"].told == ["load", "to_host", "to_device"]
    assert residency.place("a") is Place.HOST


def test_one_that_has_no_room_on_the_host_is_read_again() -> None:
    machine = Machine(device=100, host=50)
    residency = machine.residency(a=Model(60), b=Model(60))
    residency.use("a")
    residency.use("b")
    residency.use("a")
    assert machine.models["a"].told == ["load", "unload", "load"]
    assert machine.places() == "d-"


@pytest.mark.parametrize("model", [Model(60, movable=False), Model(60)], ids=["cannot be moved", "no such place"])
def test_where_there_is_no_host_to_go_to_leaving_is_unloading(model: Model) -> None:
    machine = Machine(device=100, shared=model.movable)
    residency = machine.residency(a=model, b=Model(60))
    residency.use("a")
    residency.use("b")
    assert machine.places() == "-d"


def test_a_failure_on_the_way_out_is_an_unloading() -> None:
    machine = Machine(device=100)
    residency = machine.residency(a=Model(60), b=Model(60))
    residency.use("a")
    machine.models["a"].broken = EngineFailure
    residency.use("b")
    assert machine.places() == "-d"


def test_room_is_made_for_the_work_and_the_one_in_use_never_leaves() -> None:
    machine = Machine(device=100)
    residency = machine.residency(a=Model(40), b=Model(40))
    residency.start(working_bytes=lambda: 0)
    residency.use("a", working_bytes=20)
    assert machine.places() == "dd"
    residency.use("a", working_bytes=30)
    assert machine.places() == "dh"
    # Where even that is not enough, it is tried: nobody else could leave
    residency.use("a", working_bytes=1000)
    assert machine.places() == "dh"
    assert machine.models["a"].told == ["load"]


def test_all_others_leave_for_the_last_try() -> None:
    machine = Machine(device=100)
    residency = machine.residency(a=Model(20), b=Model(20), c=Model(20))
    residency.start(working_bytes=lambda: 0)
    residency.use_alone("b")
    assert machine.places() == "hdh"


def test_one_whose_size_nobody_knew_is_tried_until_enough_have_left() -> None:
    machine = Machine(device=100)
    residency = machine.residency(a=Model(30), b=Model(30), big=Model(90, known=False))
    residency.use("a")
    residency.use("b")
    residency.use("big")
    assert machine.places() == "hhd"
    assert machine.models["big"].told == ["load"] * 3


@pytest.mark.parametrize("failure", [OutOfMemory, ModelLoadFailure])
def test_what_cannot_be_loaded_leaves_nothing_and_the_others_go_on(failure: type[EngineFailure]) -> None:
    machine = Machine(device=100)
    residency = machine.residency(a=Model(30), bad=Model(10, broken=failure))
    residency.use("a")
    with pytest.raises(failure):
        residency.use("bad")
    assert residency.place("bad") is Place.DISK
    residency.use("a")
    assert machine.places() == "d-"


def test_models_that_wait_on_the_host_make_room_there() -> None:
    # Given models that live on the host, which has room for two
    machine = Machine(device=100, host=100)
    residency = machine.residency(a=Model(45, offloaded=True), b=Model(45, offloaded=True), c=Model(45, offloaded=True))
    residency.use("a")
    residency.use("b")
    residency.use("a")
    residency.use("c")
    assert machine.places() == "h-h"


def test_room_on_the_host_is_made_for_weights_that_leave_for_a_while() -> None:
    # Given a model in use, and one that waits on the host and fills it
    machine = Machine(device=60, host=100)
    residency = machine.residency(a=Model(50), b=Model(50))
    residency.use("a")
    residency.use("b")
    assert residency.place("a") is Place.HOST
    # Then there could be room, and is once it is asked for
    assert residency.host_room_bytes("b") == 100
    residency.make_host_room("b", 50)
    assert residency.place("a") is Place.HOST
    residency.make_host_room("b", 100)
    assert residency.place("a") is Place.DISK
    with pytest.raises(OutOfMemory, match="The host's memory has no room"):
        residency.make_host_room("b", 101)


def test_where_the_device_is_the_host_there_is_no_other_room() -> None:
    machine = Machine(device=100, shared=True)
    residency = machine.residency(a=Model(50))
    assert residency.host_room_bytes("a") == 0


def test_a_dropped_one_is_read_again_and_unloading_takes_all() -> None:
    machine = Machine(device=100)
    residency = machine.residency(a=Model(30), b=Model(30))
    residency.start(working_bytes=lambda: 0)
    residency.drop("a")
    assert machine.places() == "-d"
    residency.use("a")
    residency.unload()
    assert machine.places() == "--"
    assert residency.place("b") is Place.DISK


def test_the_log_tells_of_comings_and_goings() -> None:
    machine = Machine(device=100, host=200)
    residency = machine.residency(a=Model(60), b=Model(60))
    with capture_logs() as lines:
        residency.use("a")
        residency.use("b")
        residency.use("a")
    told = [(line["event"], line["model"], line.get("to") or line.get("origin")) for line in lines]
    assert told == [("model_evicted", "a", "host"), ("model_evicted", "b", "host"), ("model_loaded", "a", "host")]
    assert all(line["seconds"] >= 0 for line in lines)
