"""Aliases of models."""

from danqing.core.model_names import meant_model

ALIASES = {
    "gpt-image-*": "default",
    "gpt-*": "other",
    "flux1-dev": "flux",
    "FLUX.1-dev": "flux1-dev",
    "a": "b",
    "b": "a",
}
SERVED = {"sample", "other", "flux"}


def test_the_first_pattern_that_fits_counts() -> None:
    assert meant_model("gpt-image-2", ALIASES, default="sample", served=SERVED) == "sample"
    assert meant_model("gpt-4", ALIASES, default="sample", served=SERVED) == "other"
    assert meant_model("flux1-dev", ALIASES, default="sample", served=SERVED) == "flux"


def test_other_names_are_no_aliases() -> None:
    for name in ("", "FLUX1-DEV", "flux1-dev2", "*", "a"):
        assert meant_model(name, ALIASES, default="sample", served=SERVED) is None


def test_an_alias_of_what_is_not_served_is_looked_up_again() -> None:
    assert meant_model("FLUX.1-dev", ALIASES, default="sample", served=SERVED | {"flux1-dev"}) == "flux1-dev"
    assert meant_model("FLUX.1-dev", ALIASES, default="sample", served=SERVED) == "flux"
    assert meant_model("FLUX.1-dev", ALIASES, default="sample", served={"sample"}) is None
