"""A server for the commands that watch and try one: every mode but controlnet unless told so, pictures at once."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from typer.testing import CliRunner, Result

from danqing.cli.main import build_app
from danqing.core.types import Mode
from danqing.dialects.genserve.dialect import genserve
from danqing.dialects.turbo.dialect import turbo
from tests.dialects.house import House, served
from tests.fakes.domain import a_card

MODES = frozenset({Mode.TEXT2IMG, Mode.IMG2IMG, Mode.FILL})


@contextmanager
def a_server(folder: Path, *, modes: frozenset[Mode] = MODES, with_turbo: bool = True) -> Iterator[tuple[str, House]]:
    """Its address and the house itself, which lives in another thread."""
    houses: list[House] = []
    card = a_card(id="flux1-dev")
    card = replace(card, capabilities=replace(card.capabilities, modes=modes))

    def house() -> House:
        houses.append(House(folder / "outputs", automatic=True, card=card))
        return houses[0]

    with served(house, [turbo(), genserve()] if with_turbo else [genserve()]) as url:
        yield url, houses[0]


def danqing(*arguments: str) -> Result:
    """The command, run in this process; log lines of a server in this process are in its output."""
    return CliRunner().invoke(build_app(), list(arguments))


def danqing_alone(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command, run in a process of its own."""
    return subprocess.run([sys.executable, "-m", "danqing", *arguments], capture_output=True, text=True, timeout=100)
