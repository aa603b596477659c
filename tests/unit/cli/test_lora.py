"""`danqing generate --lora` and `--step-cache`, by a server and as they are written."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from danqing.cli.generate import _lora
from danqing.cli.options import UserError
from danqing.cli.order import PictureOrder
from danqing.cli.server_client import ServerClient
from danqing.core.types import Lora
from danqing.dialects.openai.dialect import openai
from danqing.dialects.turbo.dialect import turbo
from tests.dialects.house import House, served
from tests.fakes.domain import a_card


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerClient]:
    root, card = tmp_path_factory.mktemp("outputs"), replace(a_card(), loras=("ink", "oil:2"))
    card = replace(card, capabilities=replace(card.capabilities, step_cache=True))
    with served(lambda: House(root, automatic=True, card=card), [turbo(), openai()]) as url:
        client = ServerClient(url)
        yield client
        client.close()


def order(*loras: Lora, **changes: Any) -> PictureOrder:  # noqa: ANN401 - fields of the dataclass
    return PictureOrder(prompt="a red apple", loras=loras, **changes)


@pytest.mark.parametrize(
    ("text", "lora"),
    [
        ("ink", Lora(name="ink")),
        ("ink:0.5", Lora(name="ink", scale=0.5)),
        ("ink:-1", Lora(name="ink", scale=-1)),
        ("oil:2:.5", Lora(name="oil:2", scale=0.5)),
    ],
)
def test_a_lora_is_written_with_or_without_its_scale(text: str, lora: Lora) -> None:
    assert _lora(text) == lora


@pytest.mark.parametrize("text", ["ink:much", "ink:nan", "ink:inf", "ink:1e999", "ink:", ":1"])
def test_a_scale_is_a_number(text: str) -> None:
    with pytest.raises(UserError, match=f"--lora {text}: write NAME or NAME:SCALE"):
        _lora(text)


def test_a_server_is_asked_for_them(client: ServerClient) -> None:
    picture = client.make(order(Lora(name="ink", scale=0.5), seed=7, width=128, height=128), lambda *_: None)
    assert picture.content.startswith(b"\x89PNG")
    assert picture.seed == 7
    scaled = client.make(order(Lora(name="ink")), lambda *_: None)
    assert any("1024" in adjustment for adjustment in scaled.adjustments)


def test_a_server_is_asked_for_a_step_cache(client: ServerClient) -> None:
    assert client.make(order(step_cache=0.1, seed=7, width=128, height=128), lambda *_: None).seed == 7
    with pytest.raises(UserError, match="step_cache must be at most 1"):
        client.make(order(step_cache=2.0), lambda *_: None)


def test_what_the_server_says_against_it_is_told(client: ServerClient) -> None:
    with pytest.raises(UserError, match="Not supported: LoRA pen by model tiny; there is: ink, oil:2"):
        client.make(order(Lora(name="pen")), lambda *_: None)
    with pytest.raises(UserError, match="both --width and --height"):
        client.make(order(Lora(name="ink"), width=64), lambda *_: None)


def test_a_port_without_the_openai_dialect_cannot_make_them(tmp_path: Path) -> None:
    with (
        served(lambda: House(tmp_path, automatic=True), [turbo()]) as url,
        contextlib.closing(ServerClient(url)) as client,
        pytest.raises(UserError, match="does not speak the openai dialect"),
    ):
        client.make(order(Lora(name="ink")), lambda *_: None)
