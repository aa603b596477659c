"""`.env.example` has every variable that the five servers' documents name."""

import re
from pathlib import Path

import pytest

from danqing.config import Settings, variable_of

ROOT = Path(__file__).parents[2]
SEEDS = sorted(ROOT.glob("tests/dialects/*/seed.md"))
# Variables of the documents' own clients, and codes of errors.
NOT_SETTINGS = {
    "API_URL", "STATUS_RESPONSE", "TASK_ID", "TASK_RESPONSE", "GENERATION_ERROR", "INTERNAL_ERROR", "INVALID_INPUT",
    "MODEL_NOT_READY", "STATUS",
}  # fmt: skip
NAME = re.compile(r"(?<![\w$/{.])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?!\w)|^([A-Z]{3,})=", re.MULTILINE)


def test_all_five_are_looked_at() -> None:
    assert len(SEEDS) == 5


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: path.parent.name)
def test_each_variable_is_an_alias_and_is_in_the_example(seed: Path) -> None:
    # Given the names in a server's document that look like variables
    found = {one or two for one, two in NAME.findall(seed.read_text("utf-8"))} - NOT_SETTINGS
    # Then each sets something
    aliases = {alias for field in Settings.model_fields for alias in variable_of(field).aliases}
    assert found <= aliases
    # and the example tells of it
    example = (ROOT / ".env.example").read_text("utf-8")
    assert [name for name in found if not re.search(rf"Alias: [^.]*\b{name}\b", example)] == []


def test_the_documents_name_the_variables_that_are_known() -> None:
    found = {one or two for seed in SEEDS for one, two in NAME.findall(seed.read_text("utf-8"))} - NOT_SETTINGS
    assert found >= {"GPU_DEVICE_ID", "PORT", "API_ADMIN_KEY", "DATABASE_URL", "REDIS_URL", "QWEN_MODEL_DIR"}
