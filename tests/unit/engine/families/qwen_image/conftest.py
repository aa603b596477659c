"""One tiny checkpoint of each kind for all tests of a run; nobody writes into them."""

from pathlib import Path

import pytest

from tests.unit.engine.families.qwen_image.tiny_qwen import BASE, EDIT, EDIT_PLUS, write_tiny_qwen


def _written(factory: pytest.TempPathFactory, pipeline_class: str) -> Path:
    folder = factory.mktemp("qwen") / "tiny"
    write_tiny_qwen(folder, pipeline_class)
    return folder


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes pictures from words."""
    return _written(tmp_path_factory, BASE)


@pytest.fixture(scope="session")
def edit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Follows instructions about one picture."""
    return _written(tmp_path_factory, EDIT)


@pytest.fixture(scope="session")
def plus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Follows instructions about several pictures, as 2511 does."""
    return _written(tmp_path_factory, EDIT_PLUS)
