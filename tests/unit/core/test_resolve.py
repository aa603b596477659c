"""What a client said becomes a complete request, or an error that names the parameter."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from danqing.core.capabilities import Companion, ModelCard
from danqing.core.errors import InvalidImage, InvalidRequest, MissingParameter, NotSupported, ParameterOutOfRange
from danqing.core.images import StagedImage
from danqing.core.resolve import MAX_SEED, SEED_BITS, draw_seed, resolve
from danqing.core.types import ArtifactKind, GenerationRequest, Lora, Mode, RequestDraft
from tests.fakes.domain import a_card

CARD = a_card()
UNGUIDED = replace(CARD, capabilities=replace(CARD.capabilities, guidance=False, negative_prompt=False))


def test_what_was_not_said_is_filled_in() -> None:
    assert resolve(RequestDraft(prompt="pizza"), CARD, draw=lambda: 7) == GenerationRequest(
        model="tiny",
        mode=Mode.TEXT2IMG,
        prompt="pizza",
        negative_prompt="",
        width=1024,
        height=1024,
        num_inference_steps=9,
        guidance_scale=0.0,
        seed=7,
    )


def test_what_was_said_is_kept() -> None:
    draft = RequestDraft(
        prompt=" 披萨 ",
        negative_prompt="blurry",
        width=64,
        height=2048,
        num_inference_steps=50,
        guidance_scale=7,
        seed=0,
    )
    resolved = resolve(draft, CARD, draw=lambda: pytest.fail("a seed was given"))
    assert (resolved.prompt, resolved.negative_prompt) == (" 披萨 ", "blurry")
    assert (resolved.width, resolved.height, resolved.num_inference_steps) == (64, 2048, 50)
    assert (resolved.guidance_scale, resolved.seed) == (7.0, 0)
    assert isinstance(resolved.guidance_scale, float)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("prompt", "", MissingParameter),
        ("prompt", " \n\t　", MissingParameter),
        ("prompt", "x" * 101, ParameterOutOfRange),
        ("prompt", "half a pair \ud83d", InvalidRequest),
        ("negative_prompt", "x" * 101, ParameterOutOfRange),
        ("negative_prompt", "\udfff", InvalidRequest),
        ("width", 63, ParameterOutOfRange),
        ("width", 2049, ParameterOutOfRange),
        ("height", 0, ParameterOutOfRange),
        ("height", -64, ParameterOutOfRange),
        ("num_inference_steps", 0, ParameterOutOfRange),
        ("num_inference_steps", 51, ParameterOutOfRange),
        ("guidance_scale", -0.1, ParameterOutOfRange),
        ("guidance_scale", 100.1, ParameterOutOfRange),
        ("guidance_scale", float("nan"), ParameterOutOfRange),
        ("guidance_scale", float("inf"), ParameterOutOfRange),
        ("seed", -1, ParameterOutOfRange),
        ("seed", 2**63, ParameterOutOfRange),
    ],
    ids=repr,
)
def test_what_cannot_be_honoured_is_refused_by_name(field: str, value: object, error: type[InvalidRequest]) -> None:
    values: dict[str, Any] = {"prompt": "pizza", field: value}
    with pytest.raises(InvalidRequest) as caught:
        resolve(RequestDraft(**values), CARD)
    assert type(caught.value) is error
    assert caught.value.parameter == field
    assert field in caught.value.public_message


@pytest.mark.parametrize(
    ("field", "value"), [("width", 64), ("height", 2048), ("num_inference_steps", 1), ("seed", MAX_SEED)]
)
def test_the_ends_of_a_range_belong_to_it(field: str, value: int) -> None:
    values: dict[str, Any] = {"prompt": "x" * 100, field: value}
    assert getattr(resolve(RequestDraft(**values), CARD), field) == value


def test_a_negative_prompt_without_guidance_is_accepted_and_kept() -> None:
    resolved = resolve(RequestDraft(prompt="pizza", negative_prompt="blurry", guidance_scale=0), CARD)
    assert (resolved.negative_prompt, resolved.guidance_scale) == ("blurry", 0.0)


@pytest.mark.parametrize(("field", "value"), [("guidance_scale", 3.5), ("negative_prompt", "blurry")])
def test_a_model_without_guidance_refuses_it(field: str, value: object) -> None:
    values: dict[str, Any] = {"prompt": "pizza", field: value}
    with pytest.raises(NotSupported, match="tiny") as caught:
        resolve(RequestDraft(**values), UNGUIDED)
    assert caught.value.parameter == field


def test_a_model_without_guidance_takes_what_means_none() -> None:
    assert resolve(RequestDraft(prompt="pizza", guidance_scale=0.0, negative_prompt=""), UNGUIDED).guidance_scale == 0


def test_a_mode_that_the_model_lacks_is_refused() -> None:
    card: ModelCard = replace(CARD, capabilities=replace(CARD.capabilities, modes=frozenset()))
    with pytest.raises(NotSupported) as caught:
        resolve(RequestDraft(prompt="pizza"), card)
    assert caught.value.parameter == "mode"


def test_drawn_seeds_differ_and_fit_every_client() -> None:
    seeds = {draw_seed() for _ in range(100)}
    assert len(seeds) > 90
    assert all(0 <= seed < 2**SEED_BITS for seed in seeds)


# LoRAs

WITH_LORAS = replace(CARD, loras=("ink", "oil", *(f"more {number}" for number in range(60))))


def drafted(*loras: Lora) -> RequestDraft:
    return RequestDraft(prompt="pizza", loras=loras)


def test_loras_are_kept_in_their_order_with_their_scales() -> None:
    asked = (Lora(name="oil", scale=4), Lora(name="ink", scale=-4))
    assert resolve(drafted(*asked), WITH_LORAS).loras == asked
    assert resolve(drafted(), CARD).loras == ()
    assert len(resolve(drafted(*(Lora(name=f"more {number}") for number in range(8))), WITH_LORAS).loras) == 8


@pytest.mark.parametrize(
    ("loras", "kind", "message"),
    [
        ([Lora(name="Ink")], NotSupported, "Not supported: LoRA Ink by model tiny; there is: ink, oil, more 0, "),
        ([Lora(name="../ink")], NotSupported, "Not supported: LoRA ../ink by model tiny"),
        ([Lora(name="ink"), Lora(name="ink", scale=0.5)], InvalidRequest, "loras has ink more than once."),
        ([Lora(name="ink", scale=4.01)], ParameterOutOfRange, "loras: scale must be between -4 and 4."),
        ([Lora(name="ink", scale=-4.01)], ParameterOutOfRange, "loras: scale must be between -4 and 4."),
        ([Lora(name="ink", scale=float("nan"))], ParameterOutOfRange, "loras: scale must be between -4 and 4."),
        ([Lora(name=f"more {number}") for number in range(9)], ParameterOutOfRange, "At most 8 loras for one picture."),
        ([Lora(name="x" * 256)], ParameterOutOfRange, "loras must have at most 255 characters."),
        ([Lora(name="\ud800")], InvalidRequest, "loras is not valid Unicode text."),
    ],
)
def test_loras_that_cannot_be(loras: list[Lora], kind: type[InvalidRequest], message: str) -> None:
    with pytest.raises(kind) as refused:
        resolve(drafted(*loras), WITH_LORAS)
    assert refused.value.public_message.startswith(message)
    assert refused.value.parameter == "loras"


def test_the_known_ones_are_told_but_not_without_end() -> None:
    with pytest.raises(NotSupported, match=r"; there is: ink, oil, .*more 47 and 12 more\.$"):
        resolve(drafted(Lora(name="gouache")), WITH_LORAS)
    with pytest.raises(NotSupported, match=r"; there is: none\.$"):
        resolve(drafted(Lora(name="gouache")), CARD)


# Pictures to start from

IMAGE = StagedImage(path=Path("a"), sha256="a" * 64, width=64, height=48)
MASK = replace(IMAGE, sha256="b" * 64)
ABLE = replace(CARD, capabilities=replace(CARD.capabilities, modes=frozenset(Mode), max_input_images=2))


CONTROLLED: dict[str, Any] = {"mode": Mode.CONTROLNET, "control_image": IMAGE}


def with_images(**changes: Any) -> RequestDraft:  # noqa: ANN401 - fields of the dataclass
    return replace(RequestDraft(prompt="pizza", mode=Mode.IMG2IMG, input_images=(IMAGE,)), **changes)


def test_pictures_are_named_by_their_content() -> None:
    resolved = resolve(with_images(mode=Mode.FILL, mask=MASK), ABLE)
    assert [ref.name for ref in resolved.inputs] == [f"input-{'a' * 64}.png", f"input-{'b' * 64}.png"]
    assert resolved.input_images[0].size == (64, 48)


@pytest.mark.parametrize(
    ("mode", "strength"), [(Mode.IMG2IMG, 0.8), (Mode.EDIT, 0.8), (Mode.FILL, 1.0), (Mode.CONTROLNET, 1.0)]
)
def test_strength_belongs_to_modes_that_begin_with_a_picture(mode: Mode, strength: float | None) -> None:
    draft = with_images(
        mode=mode,
        mask=MASK if mode is Mode.FILL else None,
        control_image=IMAGE if mode is Mode.CONTROLNET else None,
    )
    assert resolve(draft, ABLE).strength == strength
    assert resolve(RequestDraft(prompt="pizza", strength=0.5), ABLE).strength is None


def test_who_follows_an_instruction_has_no_strength_unless_it_fills_a_mask() -> None:
    card = replace(ABLE, capabilities=replace(ABLE.capabilities, instruction_edit=True))
    assert resolve(with_images(mode=Mode.EDIT), card).strength is None
    assert resolve(with_images(mode=Mode.EDIT, mask=MASK, strength=0.6), card).strength == 0.6
    with pytest.raises(NotSupported, match="strength") as caught:
        resolve(with_images(mode=Mode.EDIT, strength=0.6), card)
    assert caught.value.parameter == "strength"


def test_how_a_map_is_meant_and_followed_is_kept() -> None:
    request = resolve(with_images(**CONTROLLED, control_preprocess="canny", controlnet_conditioning_scale=0), ABLE)
    assert (request.control_preprocess, request.controlnet_conditioning_scale) == ("canny", 0.0)
    unsaid = resolve(with_images(**CONTROLLED), ABLE)
    assert (unsaid.control_preprocess, unsaid.controlnet_conditioning_scale) == (None, None)


def test_only_a_picture_that_is_begun_with_needs_no_prompt() -> None:
    assert resolve(with_images(prompt=""), ABLE).prompt == ""
    with pytest.raises(MissingParameter, match="prompt"):
        resolve(with_images(prompt="", mode=Mode.EDIT), ABLE)


@pytest.mark.parametrize(
    ("changes", "error", "parameter"),
    [
        ({"input_images": ()}, MissingParameter, "input_image"),
        ({"input_images": (IMAGE, IMAGE)}, ParameterOutOfRange, "input_image"),
        ({"mode": Mode.EDIT, "input_images": (IMAGE,) * 3}, ParameterOutOfRange, "input_image"),
        ({"mode": Mode.TEXT2IMG}, InvalidRequest, "mode"),
        ({"mode": Mode.FILL}, MissingParameter, "mask_image"),
        ({"mask": MASK}, InvalidRequest, "mask_image"),
        ({"mode": Mode.FILL, "mask": replace(MASK, width=65)}, InvalidImage, "mask_image"),
        ({"mode": Mode.CONTROLNET}, MissingParameter, "control_image"),
        ({"control_image": IMAGE}, InvalidRequest, "control_image"),
        ({"control_preprocess": "canny"}, InvalidRequest, "control_preprocess"),
        ({"controlnet_conditioning_scale": 1.0}, InvalidRequest, "controlnet_conditioning_scale"),
        (CONTROLLED | {"controlnet_conditioning_scale": 2.01}, ParameterOutOfRange, "controlnet_conditioning_scale"),
        (CONTROLLED | {"controlnet_conditioning_scale": -0.1}, ParameterOutOfRange, "controlnet_conditioning_scale"),
        ({"strength": 1.01}, ParameterOutOfRange, "strength"),
        ({"strength": float("nan")}, ParameterOutOfRange, "strength"),
        ({"cfg_truncation": 2.0}, ParameterOutOfRange, "cfg_truncation"),
        ({"cfg_normalization": -1.0}, ParameterOutOfRange, "cfg_normalization"),
        ({"max_sequence_length": 513}, ParameterOutOfRange, "max_sequence_length"),
    ],
)
def test_pictures_that_do_not_fit_are_refused_by_name(
    changes: dict[str, Any], error: type[InvalidRequest], parameter: str
) -> None:
    with pytest.raises(error) as refused:
        resolve(with_images(**changes), ABLE)
    assert type(refused.value) is error
    assert refused.value.parameter == parameter


@pytest.mark.parametrize("parameter", ["cfg_normalization", "cfg_truncation"])
def test_guidance_that_the_model_does_not_shape_is_refused_by_name(parameter: str) -> None:
    draft = replace(RequestDraft(prompt="pizza"), **{parameter: 0.5})
    assert getattr(resolve(draft, CARD), parameter) == 0.5
    unshaped = replace(CARD, capabilities=replace(CARD.capabilities, cfg_shaping=False))
    with pytest.raises(NotSupported, match=f"{parameter} by model tiny") as refused:
        resolve(draft, unshaped)
    assert refused.value.parameter == parameter


def test_weights_of_a_mode_may_have_a_guidance_of_their_own() -> None:
    # Given a model that fills with other weights than its own
    companion = Companion(mode=Mode.FILL, source="elsewhere", guidance_scale=30.0)
    card = replace(ABLE, companions=(companion,))

    def guidance(card: ModelCard, mode: Mode, **changes: Any) -> float:  # noqa: ANN401
        return resolve(with_images(mode=mode, **changes), card).guidance_scale

    # Then that is the default of what they make, an edit with a mask too, and of nothing else
    assert guidance(card, Mode.FILL, mask=MASK) == guidance(card, Mode.EDIT, mask=MASK) == 30
    assert guidance(card, Mode.IMG2IMG) == guidance(ABLE, Mode.FILL, mask=MASK) == CARD.defaults.guidance_scale
    assert guidance(card, Mode.FILL, mask=MASK, guidance_scale=5.0) == 5


def test_a_mode_that_the_model_lacks_is_refused_by_name() -> None:
    with pytest.raises(NotSupported, match="controlnet by model tiny"):
        resolve(with_images(mode=Mode.CONTROLNET), CARD)


def test_what_is_wanted_beside_the_original_has_one_order() -> None:
    both = (ArtifactKind.UPSCALED, ArtifactKind.PREVIEW, ArtifactKind.UPSCALED)
    assert resolve(RequestDraft(prompt="x", further=both), CARD).further == (
        ArtifactKind.PREVIEW,
        ArtifactKind.UPSCALED,
    )


CACHING = replace(CARD, capabilities=replace(CARD.capabilities, modes=frozenset(Mode), step_cache=True))


@pytest.mark.parametrize(("said", "kept"), [(None, None), (0, None), (0.0, None), (0.1, 0.1), (1, 1.0)])
def test_a_step_cache_is_off_unless_it_is_asked_for(said: float | None, kept: float | None) -> None:
    assert resolve(RequestDraft(prompt="pizza", step_cache=said), CACHING).step_cache == kept


@pytest.mark.parametrize(
    ("said", "card", "error", "words"),
    [
        (-0.1, CACHING, ParameterOutOfRange, "step_cache must be between 0 and 1."),
        (1.1, CACHING, ParameterOutOfRange, "step_cache must be between 0 and 1."),
        (float("nan"), CACHING, ParameterOutOfRange, "step_cache must be between 0 and 1."),
        (0.1, CARD, NotSupported, "Not supported: step_cache by model tiny."),
    ],
)
def test_a_step_cache_is_a_share_and_of_a_model_that_has_one(
    said: float, card: ModelCard, error: type[InvalidRequest], words: str
) -> None:
    with pytest.raises(error) as caught:
        resolve(RequestDraft(prompt="pizza", step_cache=said), card)
    assert (caught.value.parameter, caught.value.public_message) == ("step_cache", words)


def test_a_step_cache_does_not_go_with_a_controlnet() -> None:
    picture = IMAGE
    draft = RequestDraft(prompt="p", mode=Mode.CONTROLNET, input_images=(picture,), control_image=picture)
    assert resolve(replace(draft, step_cache=0), CACHING).step_cache is None
    with pytest.raises(NotSupported, match="Not supported: step_cache for mode controlnet"):
        resolve(replace(draft, step_cache=0.1), CACHING)
