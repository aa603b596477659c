"""What every `Engine` promises, whatever model and device it runs. Subclasses give the fixtures `engine` and `card`."""

import dataclasses
import io
from collections.abc import Callable

import pytest
from PIL import Image

from danqing.core.capabilities import ModelCard
from danqing.core.errors import UnknownModel
from danqing.core.ports import Engine
from danqing.core.sizes import plan_size
from danqing.core.types import GenerationRequest, Mode, RawPicture


def request_for(card: ModelCard, **changes: object) -> GenerationRequest:
    request = GenerationRequest(
        model=card.id,
        mode=Mode.TEXT2IMG,
        prompt="a red apple",
        negative_prompt="",
        width=96,
        height=64,
        num_inference_steps=4,
        guidance_scale=0.0,
        seed=7,
    )
    return dataclasses.replace(request, **changes)  # type: ignore[arg-type]


def denoise(
    engine: Engine,
    request: GenerationRequest,
    *,
    on_step: Callable[[int, int], None] = lambda step, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> RawPicture:
    raw = engine.denoise(request, on_step=on_step, stopped=stopped)
    assert raw is not None
    return raw


class EngineContract:
    """The suite. `engine` is loaded; it may be shared by all tests."""

    implementation: type

    def test_is_the_implementation_it_claims_to_test(self, engine: Engine) -> None:
        assert type(engine) is self.implementation

    def test_the_same_request_gives_the_same_bytes_whatever_ran_before(self, engine: Engine, card: ModelCard) -> None:
        # Given a picture
        request = request_for(card)
        first = engine.finish(denoise(engine, request), request)
        # When others of other sizes, steps, prompts and guidance are made, and then the same again
        other = request_for(card, prompt="蓝色", width=64, height=96, seed=1, num_inference_steps=2, guidance_scale=3.0)
        denoise(engine, other)
        again = engine.finish(denoise(engine, request), request)
        # Then nothing differs
        assert again.content == first.content

    @pytest.mark.parametrize(
        "change",
        [
            {"seed": 8},
            {"seed": 2**63 - 1},
            {"prompt": "a blue cup"},
            {"num_inference_steps": 5},
            {"guidance_scale": 4.0},
        ],
        ids=str,
    )
    def test_another_request_gives_another_picture(
        self, engine: Engine, card: ModelCard, change: dict[str, object]
    ) -> None:
        assert denoise(engine, request_for(card, **change)).rgb != denoise(engine, request_for(card)).rgb

    @pytest.mark.parametrize(
        "guidance_scale, matters", [(0.0, False), (3.0, True)], ids=["without guidance", "with guidance"]
    )
    def test_the_negative_prompt_counts_with_guidance_only(
        self, engine: Engine, card: ModelCard, guidance_scale: float, matters: bool
    ) -> None:
        without = denoise(engine, request_for(card, guidance_scale=guidance_scale))
        negative = "ugly " * 40  # longer than the prompt, in tokens too
        with_it = denoise(engine, request_for(card, guidance_scale=guidance_scale, negative_prompt=negative))
        assert (with_it.rgb != without.rgb) is matters

    @pytest.mark.parametrize("size", [(96, 64), (64, 64), (65, 131), (250, 70), (301, 200)], ids=str)
    def test_the_size_asked_for_is_the_size_of_the_file(
        self, engine: Engine, card: ModelCard, size: tuple[int, int]
    ) -> None:
        # When a picture of that size is made
        request = request_for(card, width=size[0], height=size[1], num_inference_steps=1)
        raw = denoise(engine, request)
        encoded = engine.finish(raw, request)
        # Then the model made what was planned, and the file is exactly what was asked for
        assert (raw.width, raw.height) == plan_size(card.capabilities.size_rules, *size).native
        assert len(raw.rgb) == raw.width * raw.height * 3
        assert (encoded.width, encoded.height) == size
        with Image.open(io.BytesIO(encoded.content)) as picture:
            picture.load()
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", size)
        assert encoded.media_type == "image/png"

    @pytest.mark.parametrize("steps", [1, 2, 5])
    def test_progress_counts_every_step_to_the_total(self, engine: Engine, card: ModelCard, steps: int) -> None:
        seen: list[tuple[int, int]] = []
        denoise(engine, request_for(card, num_inference_steps=steps), on_step=lambda *step: seen.append(step))
        assert seen == [(step, steps) for step in range(1, steps + 1)]

    @pytest.mark.parametrize("after", [0, 1, 3, 4])
    def test_a_stop_is_seen_within_one_step_and_leaves_no_trace(
        self, engine: Engine, card: ModelCard, after: int
    ) -> None:
        # Given what the next request gives in peace
        next_request = request_for(card, seed=99)
        undisturbed = denoise(engine, next_request)
        # When a request of four steps is stopped after some
        seen: list[int] = []
        dropped = engine.denoise(
            request_for(card), on_step=lambda step, total: seen.append(step), stopped=lambda: len(seen) >= after
        )
        # Then not one more step is made, no picture comes, and the next request is not affected
        assert dropped is None
        assert seen == list(range(1, after + 1))
        assert denoise(engine, next_request) == undisturbed

    def test_an_error_of_the_watcher_gets_through_and_leaves_no_trace(self, engine: Engine, card: ModelCard) -> None:
        # Given a watcher whose pipe breaks
        undisturbed = denoise(engine, request_for(card))

        def broken(step: int, total: int) -> None:
            raise BrokenPipeError

        # Then its error is not mistaken for the engine's, and the engine goes on
        with pytest.raises(BrokenPipeError):
            engine.denoise(request_for(card), on_step=broken, stopped=lambda: False)
        assert denoise(engine, request_for(card)) == undisturbed

    def test_finishing_twice_gives_the_same_bytes(self, engine: Engine, card: ModelCard) -> None:
        request = request_for(card, width=150, height=100)
        raw = denoise(engine, request)
        assert engine.finish(raw, request) == engine.finish(raw, request)

    def test_a_model_that_is_not_loaded_is_refused(self, engine: Engine, card: ModelCard) -> None:
        with pytest.raises(UnknownModel):
            engine.denoise(request_for(card, model="another"), on_step=lambda *_: None, stopped=lambda: False)

    def test_tells_its_device(self, engine: Engine) -> None:
        status = engine.device()
        assert status.name
        if status.kind == "cpu":
            assert status.memory_total_bytes is None
        else:
            assert status.memory_allocated_bytes is not None and status.memory_total_bytes is not None
            assert 0 < status.memory_allocated_bytes < status.memory_total_bytes
