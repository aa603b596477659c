"""A device that works on its own: what is waited for, when, and what a picture on its way promises."""

from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_heun_discrete import FlowMatchHeunDiscreteScheduler

from danqing.core.capabilities import ModelCard
from danqing.core.errors import EngineFailure
from danqing.engine import launched
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import choose_device
from danqing.engine.families import denoising, flow
from danqing.engine.families.adapter import AdapterOptions, MadePicture, Order, UndecodedPicture, Unwatched
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.z_image.model import z_image_adapter
from danqing.engine.launched import Levels, apart, levels, mark, sent
from danqing.engine.prompt_cache import PromptCache
from tests.contracts.engine import request_for
from tests.unit.engine.asked import Asked

SIZE = (96, 64)


@pytest.fixture
def card(tiny_folder: Path) -> ModelCard:
    return Catalogue(str(tiny_folder)).default()


class Marks:
    """Stands for a device: what it was marked with, and which of these marks somebody waited for, in that order."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self._count = 0

    def mark(self, device: torch.device) -> Callable[[], None]:
        self._count += 1
        number = self._count
        self.happened.append(f"given {number}")
        return lambda: self.happened.append(f"waited for {number}")


def loaded(card: ModelCard, *, read_later: bool) -> PipelinedAdapter:
    options = AdapterOptions(
        device=choose_device("cpu", "float32"),
        cpu_offload=False,
        attention=None,
        prompts=PromptCache(max_bytes=1 << 20),
        read_later=read_later,
    )
    adapter = z_image_adapter(card, options)
    adapter.load()
    return adapter


def make(
    adapter: PipelinedAdapter, card: ModelCard, watcher: Unwatched, *, spare_memory: bool = False
) -> MadePicture | UndecodedPicture:
    order = Order(request=request_for(card, num_inference_steps=3))
    (made,) = adapter.make([order], SIZE, watchers=[watcher], spare_memory=spare_memory)
    assert made is not None
    return made


def test_a_mark_is_of_what_this_thread_gave_the_device_and_waits_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[object] = []

    class Event:
        def __init__(self, *, blocking: bool) -> None:
            happened.append(("event", blocking))

        def record(self, stream: object) -> None:
            happened.append(("recorded", stream))

        def synchronize(self) -> None:
            happened.append("waited")

    @contextmanager
    def on(device: torch.device) -> Iterator[None]:
        happened.append(("on", device))
        yield
        happened.append("back")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: ("stream of", device))
    device = torch.device("cuda", 1)
    there = mark(device)
    assert happened == [("event", True), ("recorded", ("stream of", device))]
    # In a thread that perhaps never used a GPU, and is not to use the first one now
    there()
    assert happened[2:] == [("on", device), "waited", "back"]


def test_what_is_done_apart_on_a_gpu_has_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[object] = []

    @contextmanager
    def current(what: str, which: object) -> Generator[None]:
        happened.append((what, which))
        try:
            yield
        finally:
            happened.append(f"{what} as before")

    # Given a second GPU
    device = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device, *, priority: ("stream", device, priority))
    monkeypatch.setattr(torch.cuda, "device", partial(current, "device"))
    monkeypatch.setattr(torch.cuda, "stream", partial(current, "stream"))
    own = apart(device)
    assert happened == []
    # When something is given to it apart, and something fails there
    in_between = [("device", device), ("stream", ("stream", device, -1)), "stream as before", "device as before"]
    with own():
        assert happened == in_between[:2]
    with pytest.raises(BrokenPipeError), own():
        raise BrokenPipeError
    # Then it was in the same stream, which goes first, and the thread is back in its own
    assert happened == in_between * 2


def test_nothing_is_apart_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cuda, "Stream")
    with apart(torch.device("cpu"))():
        assert mark(torch.device("cpu")) is launched.done


def test_levels_are_pixels_once_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = Marks()
    monkeypatch.setattr(launched, "mark", marks.mark)
    image = torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.0, 0.5]).reshape(1, 3, 1, 2)
    on_its_way = levels(image)
    assert marks.happened == ["given 1"]
    pixels = on_its_way.read()
    assert marks.happened == ["given 1", "waited for 1"]
    assert pixels.tolist() == [[[0, 128, 255], [0, 255, 191]]]
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("broken", ["nan", "inf", "-inf"])
def test_numbers_that_are_none_are_told_to_whoever_reads_them(broken: str) -> None:
    image = torch.zeros(1, 3, 2, 2)
    image[0, 1, 1, 0] = float(broken)
    on_its_way = levels(image)
    with pytest.raises(EngineFailure, match="not a picture"):
        on_its_way.read()


def test_a_picture_is_waited_for_by_whoever_asks_for_it(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given what a model makes whose device is waited for at once
    expected = make(loaded(card, read_later=False), card, Unwatched()).decoded()
    # When it is not waited for
    adapter = loaded(card, read_later=True)
    marks = Marks()
    monkeypatch.setattr(launched, "mark", marks.mark)
    made = make(adapter, card, Unwatched())
    assert isinstance(made, UndecodedPicture)
    assert marks.happened == ["given 1"]
    # Then it is the same picture, though the model is gone by now
    adapter.unload()
    decoded = made.decoded()
    assert marks.happened == ["given 1", "waited for 1"]
    assert np.array_equal(decoded.rgb, expected.rgb)
    assert decoded.adjustments == expected.adjustments


def test_where_memory_is_short_it_is_waited_for_at_once(card: ModelCard) -> None:
    assert isinstance(make(loaded(card, read_later=True), card, Unwatched(), spare_memory=True), MadePicture)


class Noting(Unwatched):
    """Writes down when it is told of a step or asked, and stops at one."""

    def __init__(self, marks: Marks, *, previews: Collection[int] = (), stop_at: int | None = None) -> None:
        self._marks, self._previews, self._stop_at = marks, previews, stop_at
        self.asked = self._told = 0

    def step_done(self, step: int, total_steps: int) -> None:
        assert total_steps == 3
        self._told = step
        self._marks.happened.append(f"told {step}")

    def wants_preview(self) -> bool:
        self.asked += 1
        return self.asked in self._previews

    def preview_made(self, step: int, total_steps: int, rgb: object) -> None:
        self._marks.happened.append(f"shown {step}")

    def stopped(self) -> bool:
        return self._told == self._stop_at


def test_the_host_is_ahead_of_its_device_by_one_step_and_tells_of_those_that_are_done(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, marks = loaded(card, read_later=False), Marks()
    monkeypatch.setattr(denoising, "mark", marks.mark)
    make(adapter, card, Noting(marks))
    assert marks.happened == [
        "given 1",
        *("given 2", "waited for 1", "told 1"),
        *("given 3", "waited for 2", "told 2"),
        *("waited for 3", "told 3"),
    ]


def test_a_preview_is_read_and_shown_while_the_device_is_at_the_next_step(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a device that is given previews as well as steps, and what comes after the last
    adapter, marks = loaded(card, read_later=True), Marks()
    for module in (denoising, launched):
        monkeypatch.setattr(module, "mark", marks.mark)
    # When somebody wants to see the second step
    make(adapter, card, Noting(marks, previews=[2]))
    # Then that preview is given to it behind this step, and waited for when the third one is given too
    step_1, step_2, preview, step_3, picture = range(1, 6)
    assert marks.happened == [
        f"given {step_1}",
        *(f"given {step_2}", f"waited for {step_1}", "told 1", f"given {preview}"),
        *(f"given {step_3}", f"waited for {step_2}", f"waited for {preview}", "shown 2", "told 2"),
        *(f"waited for {step_3}", "told 3", f"given {picture}"),
    ]


def test_a_picture_that_is_stopped_while_its_preview_is_made_shows_none(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two pictures, one of which is stopped as soon as it was asked for a preview
    adapter, marks, others = loaded(card, read_later=False), Marks(), Marks()
    monkeypatch.setattr(denoising, "mark", marks.mark)
    watchers = [Noting(marks, previews=[1]), Noting(others, previews=[1])]
    monkeypatch.setattr(watchers[0], "stopped", lambda: watchers[0].asked > 0)
    # When they are made together
    orders = [Order(request=request_for(card, num_inference_steps=3, seed=seed)) for seed in range(2)]
    made = adapter.make(orders, SIZE, watchers=watchers, spare_memory=False)
    # Then it is told nothing more, and the other one everything
    assert [picture is None for picture in made] == [True, False]
    assert marks.happened == ["given 1", "given 2", "waited for 1", "given 3", "waited for 2", "waited for 3"]
    assert others.happened == ["shown 1", "told 1", "told 2", "told 3"]


@pytest.mark.parametrize("why", ["no numbers", "no memory"])
def test_a_preview_that_fails_is_not_shown_and_nothing_waits_for_it(
    why: str, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(latents: torch.Tensor, size: object) -> Levels:
        if why == "no memory":
            raise torch.OutOfMemoryError
        return levels(torch.full((1, 3, 2, 2), float("nan")))

    adapter, marks = loaded(card, read_later=False), Marks()
    monkeypatch.setattr(denoising, "mark", marks.mark)
    monkeypatch.setattr(adapter._model, "preview", failing)
    made = make(adapter, card, Noting(marks, previews=[1, 2]))
    assert isinstance(made, MadePicture)
    assert marks.happened == [
        "given 1",
        *("given 2", "waited for 1", "told 1"),
        *("given 3", "waited for 2", "told 2"),
        *("waited for 3", "told 3"),
    ]


def test_once_stopped_it_gives_the_device_nothing_more(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, marks = loaded(card, read_later=False), Marks()
    monkeypatch.setattr(denoising, "mark", marks.mark)
    order = Order(request=request_for(card, num_inference_steps=3))
    made = adapter.make([order], SIZE, watchers=[Noting(marks, stop_at=1)], spare_memory=False)
    assert made == [None]
    assert marks.happened == ["given 1", "given 2", "waited for 1", "told 1"]


def test_what_is_sent_to_a_gpu_is_not_waited_for() -> None:
    happened: list[object] = []

    class Tensor:
        """Of a host with a GPU."""

        def pin_memory(self) -> "Tensor":
            happened.append("pinned")
            return self

        def to(self, device: torch.device, **how: bool) -> str:
            happened.append((device.type, how))
            return "there"

    assert sent(cast(Any, Tensor()), torch.device("cuda", 0)) == "there"
    assert happened == ["pinned", ("cuda", {"non_blocking": True})]


def test_a_scheduler_that_is_not_waited_for_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given one as checkpoints have it, and one that stretches its levels
    configs: tuple[dict[str, Any], ...] = ({"use_dynamic_shifting": True}, {"shift": 3.0, "shift_terminal": 0.02})
    for config in configs:
        theirs: Any = FlowMatchEulerDiscreteScheduler(**config)
        on_their_way: list[torch.Tensor] = []

        def noted(tensor: torch.Tensor, device: torch.device, seen: list[torch.Tensor] = on_their_way) -> torch.Tensor:
            seen.append(tensor)
            return sent(tensor, device)

        monkeypatch.setattr(flow, "sent", noted)
        ours: Any = flow.new_scheduler(theirs)
        # When both are given the same levels
        for each in (theirs, ours):
            each.set_timesteps(sigmas=[1.0, 0.6, 0.3], mu=0.9, device=torch.device("cpu"))
        # Then both have the same, which in ours were sent
        assert torch.equal(ours.timesteps, theirs.timesteps)
        assert torch.equal(ours.sigmas, theirs.sigmas)
        assert [len(each) for each in on_their_way] == [4, 3]  # sigmas end at 0
        # And what was changed for one is its own
        assert flow.new_scheduler(theirs, shift_terminal=None).config.shift_terminal is None


def test_noise_is_added_as_diffusers_adds_it_and_nothing_is_picked_by_a_list() -> None:
    # Given latents and noise of two pictures, and a scheduler of each kind that begins with its second step
    theirs: Any = FlowMatchEulerDiscreteScheduler(shift=3.0)
    ours: Any = flow.new_scheduler(theirs)
    latents, noise = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    for each in (theirs, ours):
        each.set_timesteps(5)
        each.set_begin_index(1)
    # When both add the noise before a step and after it, and to all pictures as to one
    for step in range(2):
        for timestep in (ours.timesteps[1:2].repeat(2), torch.tensor([float(ours.timesteps[2])])):
            expected = theirs.scale_noise(latents, timestep, noise)
            with Asked("index") as asked:
                made = ours.scale_noise(latents, timestep, noise)
            # Then it is the same to the bit
            assert torch.equal(made, expected)
            assert asked.names == []
        for each in (theirs, ours):
            each.step(noise, each.timesteps[1 + step], latents)
    # And so it is where nobody said where it begins
    for each in (theirs, ours):
        each.set_timesteps(5)
    assert torch.equal(*(each.scale_noise(latents, each.timesteps[3:4], noise) for each in (theirs, ours)))


def test_timesteps_that_are_picked_out_are_the_hosts() -> None:
    scheduler: Any = flow.new_scheduler(FlowMatchEulerDiscreteScheduler(shift=3.0))
    scheduler.set_timesteps(5)

    class Whole:
        def get_timesteps(self, *given: object) -> tuple[torch.Tensor, int]:
            return scheduler.timesteps[2:], 3

    class Pipeline(flow.InpaintingUnwaited, Whole):
        pass

    pipeline = Pipeline()
    pipeline.scheduler = scheduler
    timesteps, steps = pipeline.get_timesteps()
    assert (steps, len(timesteps)) == (3, 3)
    assert torch.equal(torch.stack(list(timesteps)), scheduler.timesteps[2:])
    with Asked() as asked:
        assert type(timesteps[1]) is float
        assert torch.equal(torch.tensor([timesteps[1]]), scheduler.timesteps[3:4])
        assert torch.equal(timesteps[:1], scheduler.timesteps[2:3])
    assert set(asked.names) == {"equal"}
    # Another kind of scheduler keeps its own
    pipeline.scheduler = FlowMatchHeunDiscreteScheduler()
    assert isinstance(pipeline.get_timesteps()[0], torch.Tensor)


def test_another_kind_of_scheduler_stays_of_its_kind() -> None:
    other: Any = FlowMatchHeunDiscreteScheduler(shift=2.0)
    made: Any = flow.new_scheduler(other)
    assert type(made) is FlowMatchHeunDiscreteScheduler
    assert made.config["shift"] == 2.0
