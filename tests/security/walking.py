"""Every route of every dialect, and requests to each of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from danqing.core.capabilities import ModelCard
from danqing.core.types import Mode
from danqing.dialects.genserve.dialect import genserve
from danqing.dialects.live.dialect import live
from danqing.dialects.openai.dialect import openai
from danqing.dialects.studio.dialect import studio
from danqing.dialects.turbo.dialect import turbo
from danqing.dialects.zimage.dialect import zimage
from danqing.http.dialect import Dialect
from tests.dialects.house import House
from tests.fakes.domain import a_card
from tests.security.hostile_pictures import GOOD, GOOD_TEXT

DIALECTS: tuple[Callable[[], Dialect], ...] = (turbo, live, genserve, zimage, openai, studio)
UNDESCRIBED = ("/", "/docs", "/docs/5.35.0/{name}", "/openapi.json", "/nothing", "/api/nothing")
UUID = "00000000-0000-4000-8000-000000000000"
ALIASES = {"flux1-dev": "default", "z-image-turbo-*": "default"}
FORMS = {"/generate/img2img": "input_image", "/v1/images/edits": "image", "/v1/images/variations": "image"}


def a_house(root: Path, **options: Any) -> House:  # noqa: ANN401 - the house's
    """Paints at once, whatever is asked for."""
    return House(root, automatic=True, card=_a_model(), aliases=ALIASES, **options)


def _a_model() -> ModelCard:
    card = a_card()
    modes = frozenset({Mode.TEXT2IMG, Mode.IMG2IMG, Mode.FILL, Mode.EDIT})
    return replace(card, capabilities=replace(card.capabilities, modes=modes))


def an_app(house: House) -> FastAPI:
    """All dialects."""
    return house.app(*(build() for build in DIALECTS))


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path, with its parameters in braces."""
    described = [(method.upper(), path) for path, operations in app.openapi()["paths"].items() for method in operations]
    return described + [("GET", path) for path in UNDESCRIBED]


def a_good_request(method: str, path: str) -> dict[str, Any]:
    """Options of an httpx2 request that the route does something for."""
    if method != "POST":
        return {}
    said: dict[str, Any] = {"prompt": "p", "width": 64, "height": 64, "num_inference_steps": 1}
    if path == "/studio/batches":
        request = json.dumps({**said, "mode": "img2img"})
        return {"data": {"request": request}, "files": {"input_image": ("a.png", GOOD)}}
    if path in FORMS:
        said = {**said, "mode": "img2img"} if path.startswith("/generate") else {"prompt": "p", "size": "64x64"}
        return {"data": said, "files": {FORMS[path]: ("a.png", GOOD)}}
    if path == "/v1/images/generations":
        said = {"prompt": "p", "size": "64x64"}
    if path == "/generate":
        said |= {"mode": "img2img", "input_image": GOOD_TEXT}
    return {"json": said}
