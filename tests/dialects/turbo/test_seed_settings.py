"""The `.env` that the document shows, unchanged: what `python app.py` and `danqing serve` make of it."""

from pathlib import Path

import pytest

from danqing.config import InvalidSettings, Settings, load_settings
from danqing.http.listeners import Listener
from danqing.wiring import check_exposure, listeners
from tests.dialects.turbo.seed_document import blocks


@pytest.fixture
def seeds_own(tmp_path: Path) -> Path:
    (text,) = [block for block in blocks("bash") if "HOST=0.0.0.0" in block]
    file = tmp_path / ".env"
    file.write_text(text, encoding="utf-8")
    return file


def loaded(file: Path, **defaults: object) -> Settings:
    return load_settings(defaults=defaults, environ={}, env_file=file)


def test_python_app_takes_it_as_it_is(seeds_own: Path) -> None:
    settings = loaded(seeds_own, host="0.0.0.0", port=5000, allow_public=True)
    assert check_exposure(settings)  # open, and said to be
    assert listeners(settings, alone="turbo") == (Listener(host="0.0.0.0", port=5000, dialect="turbo"),)
    assert settings.model == "Tongyi-MAI/Z-Image-Turbo"


def test_danqing_serve_wants_a_key_beside_its_host_or_to_be_told(seeds_own: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"0\.0\.0\.0 is reached from other machines.*DANQING_ALLOW_PUBLIC=true"):
        check_exposure(loaded(seeds_own))
    for line, open_to_all in (("API_KEY=choose-one\n", False), ("DANQING_ALLOW_PUBLIC=true\n", True)):
        file = seeds_own.with_name(".env.more")
        file.write_text(seeds_own.read_text(encoding="utf-8") + line, encoding="utf-8")
        settings = loaded(file)
        assert check_exposure(settings) is open_to_all
        assert listeners(settings) == (Listener(host="0.0.0.0", port=5000),)
