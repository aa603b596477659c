"""Aliases of models."""

from danqing.core.model_names import meant_model

ALIASES = {"gpt-image-*": "default", "gpt-*": "other", "flux1-dev": "flux"}


def test_the_first_pattern_that_fits_counts() -> None:
    assert meant_model("gpt-image-2", ALIASES, default="sample") == "sample"
    assert meant_model("gpt-4", ALIASES, default="sample") == "other"
    assert meant_model("flux1-dev", ALIASES, default="sample") == "flux"


def test_other_names_are_no_aliases() -> None:
    for name in ("", "FLUX1-DEV", "flux1-dev2", "*"):
        assert meant_model(name, ALIASES, default="sample") is None
