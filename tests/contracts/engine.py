"""What every `Engine` promises, whatever model and device it runs. Subclasses give the fixtures `engine` and `card`."""

import dataclasses
import hashlib
import io
from collections.abc import Callable, Container
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from danqing.core.capabilities import ModelCard
from danqing.core.engine_port import Engine, Outcome
from danqing.core.errors import ArtifactNotFound, DanqingError, UnknownModel
from danqing.core.images import ImageRef
from danqing.core.sizes import plan_size
from danqing.core.types import ArtifactKind, EncodedPicture, GenerationRequest, Mode, RawPicture

Pixels = npt.NDArray[np.uint8]
EVERY_STEP = range(1, 100)


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


class Album:
    """Input images, as a store keeps them. `read` is a `ReadImage`."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def add(self, image: Image.Image) -> ImageRef:
        """An image of mode RGB or RGBA."""
        file = io.BytesIO()
        image.save(file, "PNG")
        name = f"input-{hashlib.sha256(file.getvalue()).hexdigest()}.png"
        self._files[name] = file.getvalue()
        return ImageRef(name=name, width=image.width, height=image.height, has_alpha=image.mode == "RGBA")

    def damage(self, ref: ImageRef) -> None:
        self._files[ref.name] = self._files[ref.name][:-40]

    def read(self, ref: ImageRef) -> bytes:
        try:
            return self._files[ref.name]
        except KeyError:
            raise ArtifactNotFound from None


@dataclass
class Watcher:
    """An `Observer` that notes everything. previews: the steps after which it wants one."""

    on_step: Callable[[int, int], None] = lambda step, total: None
    is_stopped: Callable[[], bool] = lambda: False
    previews: Container[int] = ()
    steps: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    asked: list[int] = field(default_factory=list[int])
    shown: dict[int, EncodedPicture] = field(default_factory=dict[int, EncodedPicture])

    def step_done(self, step: int, total_steps: int) -> None:
        self.steps.append((step, total_steps))
        self.on_step(step, total_steps)

    def stopped(self) -> bool:
        return self.is_stopped()

    def wants_preview(self) -> bool:
        self.asked.append(len(self.steps) + 1)
        return self.asked[-1] in self.previews

    def preview_made(self, step: int, total_steps: int, picture: EncodedPicture) -> None:
        assert step == len(self.steps) + 1
        assert step < total_steps
        self.shown[step] = picture


def denoise(
    engine: Engine, request: GenerationRequest, *, album: Album | None = None, watcher: Watcher | None = None
) -> RawPicture:
    (raw,) = engine.denoise([request], read_image=(album or Album()).read, observers=[watcher or Watcher()])
    return computed(raw)


def computed(outcome: Outcome) -> RawPicture:
    """Its pixels, which an engine may leave to who finishes the picture."""
    if isinstance(outcome, DanqingError):
        raise outcome
    assert outcome is not None
    return outcome.computed()


def make(engine: Engine, request: GenerationRequest, *, album: Album | None = None) -> RawPicture:
    """Denoised and finished."""
    album = album or Album()
    (raw,) = engine.denoise([request], read_image=album.read, observers=[Watcher()])
    if isinstance(raw, DanqingError):
        raise raw
    assert raw is not None
    return engine.finish(raw, request, read_image=album.read)


def original(engine: Engine, request: GenerationRequest, *, album: Album | None = None) -> bytes:
    """The file of a picture."""
    return engine.encode(make(engine, request, album=album), request, ArtifactKind.ORIGINAL).content


def pixels(picture: RawPicture) -> Pixels:
    return np.frombuffer(picture.rgb, np.uint8).reshape(picture.height, picture.width, 3)


def opened(picture: EncodedPicture) -> Image.Image:
    image = Image.open(io.BytesIO(picture.content))
    image.load()
    return image


def chart(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    y, x = np.mgrid[0:height, 0:width]
    colours = np.stack([(x + 0.5) / width * 255, (y + 0.5) / height * 255, np.full_like(x, 60)], -1)
    return Image.fromarray(colours.astype(np.uint8))


def half_mask(width: int, height: int) -> Image.Image:
    """White on the right half, black on the left."""
    mask = Image.new("RGB", (width, height), "black")
    mask.paste((255, 255, 255), (width // 2, 0, width, height))
    return mask


class EngineContract:
    """The suite. `engine` is loaded; it may be shared by all tests."""

    implementation: type

    @pytest.fixture
    def album(self) -> Album:
        return Album()

    def test_is_the_implementation_it_claims_to_test(self, engine: Engine) -> None:
        assert type(engine) is self.implementation

    def test_the_same_request_gives_the_same_bytes_whatever_ran_before(
        self, engine: Engine, card: ModelCard, album: Album
    ) -> None:
        # Given a picture
        request = request_for(card)
        first = original(engine, request)
        # When others of other sizes, steps, prompts, modes and guidance are made, and then the same again
        other = request_for(card, prompt="蓝色", width=64, height=96, seed=1, num_inference_steps=2, guidance_scale=3.0)
        denoise(engine, other)
        denoise(engine, starting(card, album, Mode.IMG2IMG), album=album)
        denoise(engine, starting(card, album, Mode.FILL), album=album)
        # Then nothing differs
        assert original(engine, request) == first

    @pytest.mark.parametrize("mode", [Mode.IMG2IMG, Mode.FILL, Mode.EDIT])
    def test_pictures_from_pictures_are_the_same_again(
        self, engine: Engine, card: ModelCard, album: Album, mode: Mode
    ) -> None:
        request = starting(card, album, mode)
        first = original(engine, request, album=album)
        denoise(engine, request_for(card, seed=3))
        assert original(engine, request, album=album) == first

    @pytest.mark.parametrize(
        "change",
        [
            {"seed": 8},
            {"seed": 2**63 - 1},
            {"prompt": "a blue cup"},
            {"num_inference_steps": 5},
            {"guidance_scale": 4.0},
            {"max_sequence_length": 2},
        ],
        ids=str,
    )
    def test_another_request_gives_another_picture(
        self, engine: Engine, card: ModelCard, change: dict[str, object]
    ) -> None:
        assert denoise(engine, request_for(card, **change)).rgb != denoise(engine, request_for(card)).rgb

    @pytest.mark.parametrize("change", [{"cfg_normalization": 0.5}, {"cfg_truncation": 0.1}], ids=str)
    def test_the_pipelines_own_parameters_count_with_guidance(
        self, engine: Engine, card: ModelCard, change: dict[str, object]
    ) -> None:
        if not card.capabilities.cfg_shaping:
            pytest.skip("the model has no such parameters")
        guided = request_for(card, guidance_scale=4.0)
        assert denoise(engine, dataclasses.replace(guided, **change)).rgb != denoise(engine, guided).rgb  # type: ignore[arg-type]
        plain = request_for(card)
        assert denoise(engine, dataclasses.replace(plain, **change)).rgb == denoise(engine, plain).rgb  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "guidance_scale, matters", [(0.0, False), (3.0, True)], ids=["without guidance", "with guidance"]
    )
    def test_the_negative_prompt_counts_with_guidance_only(
        self, engine: Engine, card: ModelCard, guidance_scale: float, matters: bool
    ) -> None:
        if not card.capabilities.negative_prompt:
            pytest.skip("the model takes none")
        without = denoise(engine, request_for(card, guidance_scale=guidance_scale))
        negative = "ugly " * 40  # longer than the prompt, in tokens too
        with_it = denoise(engine, request_for(card, guidance_scale=guidance_scale, negative_prompt=negative))
        assert (with_it.rgb != without.rgb) is matters

    @pytest.mark.parametrize("mode", [Mode.TEXT2IMG, Mode.FILL])
    @pytest.mark.parametrize("size", [(96, 64), (64, 64), (65, 131), (250, 70), (301, 200)], ids=str)
    def test_the_size_asked_for_is_the_size_of_the_file(
        self, engine: Engine, card: ModelCard, album: Album, size: tuple[int, int], mode: Mode
    ) -> None:
        # When a picture of that size is made
        request = request_for(card, width=size[0], height=size[1], num_inference_steps=1)
        if mode is Mode.FILL:
            request = starting(card, album, mode, width=size[0], height=size[1], num_inference_steps=1)
        raw = denoise(engine, request, album=album)
        finished = engine.finish(raw, request, read_image=album.read)
        # Then the model made what was planned, and the file is exactly what was asked for
        assert (raw.width, raw.height) == plan_size(card.capabilities.size_rules, *size).native
        assert len(raw.rgb) == raw.width * raw.height * 3
        assert (finished.width, finished.height) == size
        encoded = engine.encode(finished, request, ArtifactKind.ORIGINAL)
        assert (encoded.width, encoded.height) == size
        with opened(encoded) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", size)
            assert np.array_equal(np.asarray(picture), pixels(finished))
        assert encoded.media_type == "image/png"

    @pytest.mark.parametrize("steps", [1, 2, 5])
    def test_progress_counts_every_step_to_the_total(self, engine: Engine, card: ModelCard, steps: int) -> None:
        watcher = Watcher()
        denoise(engine, request_for(card, num_inference_steps=steps), watcher=watcher)
        assert watcher.steps == [(step, steps) for step in range(1, steps + 1)]

    @pytest.mark.parametrize("mode", [Mode.IMG2IMG, Mode.FILL])
    @pytest.mark.parametrize("strength, taken", [(1.0, 9), (0.5, 5), (0.3, 3), (0.01, 1), (1e-17, 0), (0.0, 0)])
    def test_a_weak_start_takes_fewer_steps_and_tells_how_many(
        self, engine: Engine, card: ModelCard, album: Album, mode: Mode, strength: float, taken: int
    ) -> None:
        watcher = Watcher()
        request = starting(card, album, mode, strength=strength, num_inference_steps=9)
        denoise(engine, request, album=album, watcher=watcher)
        assert watcher.steps == [(step, taken) for step in range(1, taken + 1)]

    @pytest.mark.parametrize("mode", [Mode.TEXT2IMG, Mode.FILL])
    @pytest.mark.parametrize("after", [0, 1, 3, 4])
    def test_a_stop_is_seen_within_one_step_and_leaves_no_trace(
        self, engine: Engine, card: ModelCard, album: Album, after: int, mode: Mode
    ) -> None:
        # Given what the next request gives in peace
        next_request = request_for(card, seed=99)
        undisturbed = denoise(engine, next_request)
        # When a request of four steps is stopped after some
        watcher = Watcher(is_stopped=lambda: len(watcher.steps) >= after)
        request = request_for(card) if mode is Mode.TEXT2IMG else starting(card, album, mode, strength=1.0)
        dropped = engine.denoise([request], read_image=album.read, observers=[watcher])
        # Then not one more step is made, no picture comes, and the next request is not affected
        assert list(dropped) == [None]
        assert [step for step, _ in watcher.steps] == list(range(1, after + 1))
        assert denoise(engine, next_request) == undisturbed

    def test_pictures_made_together_are_those_made_alone(self, engine: Engine, card: ModelCard, album: Album) -> None:
        for mode in (Mode.TEXT2IMG, Mode.IMG2IMG, Mode.FILL):
            # Given requests that differ in prompt, seed and picture
            plain = request_for(card) if mode is Mode.TEXT2IMG else starting(card, album, mode)
            requests = [
                dataclasses.replace(plain, prompt=prompt, seed=seed)
                for seed, prompt in enumerate(("a", "a red apple on a blue background", "蓝色背景上的苹果"))
            ]
            if requests[0].input_images:
                other = album.add(Image.new("RGB", requests[0].input_images[0].size, (10, 200, 90)))
                requests[1] = dataclasses.replace(requests[1], input_images=(other,))
            watchers = [Watcher(), Watcher(), Watcher()]
            # When they are made together
            together = engine.denoise(requests, read_image=album.read, observers=watchers)
            # Then each is, to rounding, the one that is made alone, and each watcher heard of all its steps
            for request, made in zip(requests, together, strict=True):
                alone = denoise(engine, request, album=album)
                assert np.abs(pixels(computed(made)).astype(int) - pixels(alone)).max() <= 2
                assert computed(made).adjustments == alone.adjustments
            assert all(watcher.steps == watchers[0].steps for watcher in watchers)
            assert watchers[0].steps

    def test_one_of_several_that_is_stopped_or_wrong_leaves_the_others_alone(
        self, engine: Engine, card: ModelCard, album: Album
    ) -> None:
        # Given three requests, of which one is stopped after a step and one has lost its picture
        good, stopped, lost = (starting(card, album, Mode.IMG2IMG, seed=seed) for seed in range(3))
        (ref,) = lost.input_images
        lost = dataclasses.replace(lost, input_images=(dataclasses.replace(ref, name="input-gone.png"),))
        watchers = [Watcher(), Watcher(), Watcher()]
        watchers[1].is_stopped = lambda: bool(watchers[1].steps)
        # When they are made together
        made = engine.denoise([good, stopped, lost], read_image=album.read, observers=watchers)
        # Then the others get no picture, and the one is whole
        assert np.abs(pixels(computed(made[0])).astype(int) - pixels(denoise(engine, good, album=album))).max() <= 2
        assert made[1] is None
        assert len(watchers[1].steps) == 1
        assert isinstance(made[2], ArtifactNotFound)

    def test_an_error_of_the_watcher_gets_through_and_leaves_no_trace(self, engine: Engine, card: ModelCard) -> None:
        # Given a watcher whose pipe breaks
        undisturbed = denoise(engine, request_for(card))

        def broken(step: int, total: int) -> None:
            raise BrokenPipeError

        # Then its error is not mistaken for the engine's, and the engine goes on
        with pytest.raises(BrokenPipeError):
            denoise(engine, request_for(card), watcher=Watcher(on_step=broken))
        assert denoise(engine, request_for(card)) == undisturbed

    def test_a_model_that_is_not_loaded_is_refused(self, engine: Engine, card: ModelCard) -> None:
        with pytest.raises(UnknownModel):
            denoise(engine, request_for(card, model="another"))

    def test_tells_its_device(self, engine: Engine) -> None:
        status = engine.device()
        assert status.name
        if status.kind == "cpu":
            assert status.memory_total_bytes is None
        else:
            assert status.memory_allocated_bytes is not None and status.memory_total_bytes is not None
            assert 0 < status.memory_allocated_bytes < status.memory_total_bytes

    def test_finishing_and_encoding_twice_gives_the_same_bytes(self, engine: Engine, card: ModelCard) -> None:
        request = request_for(card, width=150, height=100)
        raw = denoise(engine, request)
        finished = engine.finish(raw, request, read_image=Album().read)
        assert engine.finish(raw, request, read_image=Album().read) == finished
        for kind in ArtifactKind:
            assert engine.encode(finished, request, kind) == engine.encode(finished, request, kind)

    def test_an_enlarged_picture_is_the_same_four_times_as_large(self, engine: Engine, card: ModelCard) -> None:
        # Given a picture of a few tiles
        image = chart(200, 140)
        small = RawPicture(width=200, height=140, rgb=image.tobytes(), adjustments=("kept",))
        parts: list[tuple[int, int]] = []
        # When it is enlarged
        large = engine.enlarge(small, on_part=lambda *part: parts.append(part))
        # Then it is four times as large, shows the same, and each part was told
        assert (large.width, large.height, large.adjustments) == (800, 560, ("kept",))
        again = Image.fromarray(pixels(large)).resize(image.size, Image.Resampling.BOX)
        assert np.abs(np.asarray(again, int) - np.asarray(image, int)).mean() < 6
        assert parts == [(part, len(parts)) for part in range(1, len(parts) + 1)]
        assert len(parts) > 1
        # And its file is a PNG of that size
        with opened(engine.encode(large, request_for(card), ArtifactKind.UPSCALED)) as file:
            assert (file.format, file.size) == ("PNG", (800, 560))
            assert np.array_equal(np.asarray(file), pixels(large))

    def test_an_error_of_who_waits_for_parts_gets_through(self, engine: Engine, card: ModelCard) -> None:
        def broken(part: int, parts: int) -> None:
            raise BrokenPipeError

        small = RawPicture(width=8, height=8, rgb=bytes(192))
        with pytest.raises(BrokenPipeError):
            engine.enlarge(small, on_part=broken)

    @pytest.mark.parametrize(
        "size, expected", [((90, 61), (90, 61)), ((1024, 300), (1024, 300)), ((2048, 512), (1024, 256))], ids=str
    )
    def test_a_preview_file_is_a_small_webp(
        self, engine: Engine, card: ModelCard, size: tuple[int, int], expected: tuple[int, int]
    ) -> None:
        image = chart(*size)
        picture = RawPicture(width=size[0], height=size[1], rgb=image.tobytes())
        request = request_for(card, width=size[0], height=size[1])
        encoded = engine.encode(picture, request, ArtifactKind.PREVIEW)
        assert ((encoded.width, encoded.height), encoded.media_type) == (expected, "image/webp")
        with opened(encoded) as preview:
            assert (preview.format, preview.size) == ("WEBP", expected)
            difference = np.asarray(preview.convert("RGB"), int) - np.asarray(image.resize(expected), int)
        assert np.abs(difference).mean() < 5


def starting(
    card: ModelCard,
    album: Album,
    mode: Mode,
    *,
    image: Image.Image | None = None,
    mask: Image.Image | None = None,
    **changes: object,
) -> GenerationRequest:
    """A request that starts from a picture, for fill with a mask."""
    image = image or chart(200, 120)
    if mode is Mode.FILL:
        mask = mask or half_mask(*image.size)
    return request_for(
        card,
        **{
            "mode": mode,
            "input_images": (album.add(image),),
            "mask": album.add(mask) if mask else None,
            "strength": 0.7,
            **changes,
        },
    )
