"""The container files name settings that there are, and check health as the vendor's document shows it."""

import re
from pathlib import Path
from typing import Any

import yaml

from danqing.config import Settings, load_settings, variable_of
from tests.dialects.openai.seed_document import SEED, VARIABLES

ROOT = Path(__file__).parents[3]
NOT_OURS = {"HF_HOME"}  # of the library that downloads models


def dockerfile_environment() -> dict[str, str]:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    return dict(re.findall(r"^(?:ENV)?\s+([A-Z_]+)=(\S+)", text, re.MULTILINE))


def service() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]["danqing"]


def test_the_images_settings_are_settings(tmp_path: Path) -> None:
    environment = {name: value for name, value in dockerfile_environment().items() if name not in NOT_OURS}

    settings = load_settings(environ=environment, env_file=tmp_path / "none")

    assert (settings.host, settings.port, settings.allow_public) == ("0.0.0.0", 8000, True)
    assert settings.data_dir == Path("/data")


def test_the_services_settings_are_settings(tmp_path: Path) -> None:
    environment = {name: str(value) for name, value in service()["environment"].items()}

    assert load_settings(environ=environment, env_file=tmp_path / "none").port == 8000


def test_a_port_that_is_published_on_loopback_only_answers_to_its_names_only() -> None:
    assert service()["ports"] == ["127.0.0.1:8000:8000"]
    assert service()["environment"]["DANQING_ALLOWED_HOSTS"] == "${DANQING_ALLOWED_HOSTS:-localhost}"


def test_health_is_checked_as_documented() -> None:
    documented = re.search(r"^```yaml\n(healthcheck:.*?)^```$", SEED.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert documented is not None

    assert service()["healthcheck"] == yaml.safe_load(documented[1])["healthcheck"]


def test_every_variable_of_the_document_is_an_alias() -> None:
    aliases = {alias for field in Settings.model_fields for alias in variable_of(field).aliases}

    assert set(VARIABLES) >= {"QWEN_MODEL_DIR", "API_KEY", "DEVICE_MAP"}
    assert set(VARIABLES) - {"API_URL"} <= aliases
