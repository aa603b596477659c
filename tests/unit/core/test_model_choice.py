"""Which model makes an edit."""

from dataclasses import replace

import pytest

from danqing.core.model_choice import model_for_edit
from tests.fakes.domain import a_card
from tests.fakes.studio_parts import FixedCatalogue

USUAL = replace(
    a_card(), id="usual", loras=("both", "ink"), capabilities=replace(a_card().capabilities, step_cache=True)
)
INSTRUCTED = replace(
    a_card(),
    id="instructed",
    loras=("both", "own"),
    capabilities=replace(a_card().capabilities, instruction_edit=True, step_cache=False),
)
CATALOGUE = FixedCatalogue(USUAL, INSTRUCTED, aliases={"gpt-image-*": "default"})


@pytest.mark.parametrize("name", [None, "gpt-image-1"])
@pytest.mark.parametrize(
    ("begins", "loras", "step_cache", "meant"),
    [
        (False, [], False, "instructed"),
        (True, [], False, "usual"),
        (False, ["both"], False, "instructed"),
        (False, ["own"], False, "instructed"),
        (False, ["ink"], False, "usual"),
        (False, ["nobody's"], False, "instructed"),
        (False, [], True, "usual"),
    ],
)
def test_what_is_asked_for_says_which_model_is_meant(
    name: str | None, begins: bool, loras: list[str], step_cache: bool, meant: str
) -> None:
    assert model_for_edit(CATALOGUE, name, begins=begins, loras=loras, step_cache=step_cache).id == meant


def test_who_names_a_model_gets_it() -> None:
    assert model_for_edit(CATALOGUE, "usual", begins=False).id == "usual"
    assert model_for_edit(CATALOGUE, "instructed", begins=True, step_cache=True).id == "instructed"
