"""One tiny FLUX checkpoint for all tests of a run, with what stands beside it; nobody writes into them."""

from dataclasses import replace
from pathlib import Path

import pytest

from danqing.core.capabilities import Companion, ModelCard, Range
from danqing.core.types import Mode
from danqing.engine.families.flux.capabilities import describe_folder
from tests.unit.engine.families.flux.tiny_flux import write_tiny_controlnet, write_tiny_fill, write_tiny_flux

TOKENS = 48


@pytest.fixture(scope="session")
def flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flux") / "tiny"
    write_tiny_flux(folder)
    return folder


@pytest.fixture(scope="session")
def fill_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flux") / "fill"
    write_tiny_fill(folder)
    return folder


@pytest.fixture(scope="session")
def controlnet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flux") / "controlnet"
    write_tiny_controlnet(folder)
    return folder


@pytest.fixture(scope="session")
def plain_card(flux_folder: Path, controlnet_folder: Path) -> ModelCard:
    """It has a ControlNet, fills with its own weights, and reads few tokens, all of which it pads to."""
    card = describe_folder(flux_folder, "tiny")
    card = replace(card, capabilities=replace(card.capabilities, sequence_length=Range(minimum=1, maximum=TOKENS)))
    return with_companions(card, Companion(mode=Mode.CONTROLNET, source=str(controlnet_folder)))


@pytest.fixture(scope="session")
def filling_card(plain_card: ModelCard, fill_folder: Path) -> ModelCard:
    """It has weights for filling."""
    return with_companions(plain_card, Companion(mode=Mode.FILL, source=str(fill_folder)))


def with_companions(card: ModelCard, *added: Companion) -> ModelCard:
    companions = (*card.companions, *added)
    modes = card.capabilities.modes | {companion.mode for companion in companions}
    return replace(card, companions=companions, capabilities=replace(card.capabilities, modes=modes))
