"""Sentences for people are found again by what they say."""

from pathlib import Path
from string import Formatter

import pytest

from danqing.core.adjustments import foreseen_adjustments
from danqing.core.capabilities import FreeSizes, TrainedSizes
from danqing.core.errors import InvalidRequest
from danqing.core.images import StagedImage
from danqing.core.resolve import resolve
from danqing.core.sentences import MOST_CHARS, SENTENCES, Sentence, meant_by, says
from danqing.core.sizes import plan_size
from danqing.core.types import Lora, Mode, RequestDraft
from danqing.intake.limits import IntakeLimits
from danqing.intake.verdict import Verdict, error_of, not_a_picture
from tests.fakes.domain import a_card, a_request

PICTURE = StagedImage(path=Path("x"), sha256="a" * 64, width=64, height=64)


def fields_of(code: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(SENTENCES[code]) if name}


@pytest.mark.parametrize("code", SENTENCES)
def test_every_sentence_is_found_again_with_its_values(code: str) -> None:
    values = {name: "input_image" if name in ("parameter", "what") else f"a {name}, 4x5" for name in fields_of(code)}
    assert meant_by(says(code, **values)) == Sentence(code=code, values=values)


def test_what_nobody_has_listed_is_told_as_it_is() -> None:
    assert meant_by("The moon is full.") is None
    assert meant_by("") is None


def test_a_text_longer_than_any_sentence_is_told_as_it_is() -> None:
    enough = len(says("no_such_lora", name="ink", model="tiny", known=""))
    known = "x" * (MOST_CHARS - enough)
    assert meant_by(says("no_such_lora", name="ink", model="tiny", known=known)) is not None
    assert meant_by(says("no_such_lora", name="ink", model="tiny", known=known + "x")) is None
    # No name of a file is as long as this one
    assert meant_by(says("no_such_lora", name="i" * 301, model="tiny", known="x")) is None


def test_the_same_text_is_looked_at_once() -> None:
    text = says("lora_gone", name="looked at once")
    assert meant_by(text) is meant_by(text) is not None


def test_how_often_a_job_was_tried_does_not_hide_what_it_failed_of() -> None:
    text = says("lora_gone", name="ink") + " It was tried 3 times: lora_failure (3 times)."
    assert meant_by(text) == Sentence(code="lora_gone", values={"name": "ink"})


def test_values_of_people_are_told_whatever_they_are() -> None:
    name = "is not there (any) more.\n*+?{x}"
    assert meant_by(says("lora_gone", name=name)) == Sentence(code="lora_gone", values={"name": name})


@pytest.mark.parametrize(
    ("draft", "code"),
    [
        (RequestDraft(prompt=" "), "needs_words"),
        (RequestDraft(prompt="x" * 101), "most_chars"),
        (RequestDraft(prompt="x", width=9), "between"),
        (RequestDraft(prompt="x", guidance_scale=1000), "between"),
        (RequestDraft(prompt="x", seed=-1), "between"),
        (RequestDraft(prompt="x", loras=(Lora(name="ink"),)), "no_such_lora"),
        (RequestDraft(prompt="x", mode=Mode.EDIT), "unable"),
        (RequestDraft(prompt="x", step_cache=0.1), "unable"),
        (RequestDraft(prompt="x", input_images=(PICTURE,)), "takes_no_picture"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals_are_sentences_of_the_list(draft: RequestDraft, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(draft, a_card())
    meant = meant_by(caught.value.public_message)
    assert meant is not None and meant.code == code


def test_what_is_said_of_pictures_that_cannot_be_taken_is_in_the_list() -> None:
    told = [
        error_of(verdict, IntakeLimits(), parameter="input_image").public_message
        for verdict in Verdict
        if verdict not in (Verdict.REBUILT, Verdict.NOT_STORED)
    ]
    assert all(meant_by(text) for text in (*told, not_a_picture("mask_image").public_message))


def test_what_is_said_of_sizes_is_in_the_list() -> None:
    free = FreeSizes(multiple_of=16, min_side=64, max_pixels=256 * 256)
    trained = TrainedSizes(sizes=((128, 128),))
    codes = {
        meant.code
        for rules, size in [
            (free, (100, 90)),
            (free, (600, 500)),
            (free, (1024, 1024)),
            (trained, (64, 64)),
            (trained, (64, 100)),
            (trained, (300, 200)),
            (trained, (256, 256)),
        ]
        if (text := plan_size(rules, *size).adjustment) and (meant := meant_by(text))
    }
    assert codes == {"made_cut", "made_cut_enlarged", "made_enlarged", "made_scaled", "made_cut_scaled"}
    request = a_request(negative_prompt="dark", mode=Mode.EDIT)
    noted = [meant_by(text) for text in foreseen_adjustments(request, a_card())]
    assert [meant and meant.code for meant in noted] == ["made_enlarged", "negative_not_used", "redrawn"]
