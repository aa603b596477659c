"""The official `openai` package against a server: every call, every format, streams, typed errors."""

import base64
import io
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from openai import OpenAI
from openai.types import ImagesResponse
from PIL import Image

from danqing.core.errors import DanqingError, OutOfMemory
from danqing.dialects.openai.dialect import openai as openai_dialect
from danqing.http.keys import Keys
from tests.dialects.house import House, served
from tests.dialects.openai.parts import GREEN, RED, editing_house, mask, png
from tests.dialects.openai.test_streaming import patient


@contextmanager
def client_of(root: Path, *, api_key: str = "any", **options: Any) -> Iterator[OpenAI]:  # noqa: ANN401 - of House
    """A client that does not try again."""
    failure: DanqingError | None = options.pop("failure", None)
    waits = options.pop("waits", False)

    def house() -> House:
        made = editing_house(root, **options)
        made.painter.failure = failure
        return patient(made) if waits else made

    with (
        served(house, [openai_dialect()]) as url,
        OpenAI(base_url=f"{url}/v1", api_key=api_key, max_retries=0) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    with client_of(tmp_path_factory.mktemp("outputs")) as made:
        yield made


@pytest.fixture(scope="module")
def streaming_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    with client_of(tmp_path_factory.mktemp("outputs"), waits=True) as made:
        yield made


def pictures(response: ImagesResponse) -> list[Image.Image]:
    assert response.data
    found: list[Image.Image] = []
    for datum in response.data:
        assert datum.b64_json
        found.append(decoded(datum.b64_json))
    return found


def decoded(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_generate(client: OpenAI, output_format: Literal["png", "jpeg", "webp"]) -> None:
    response = client.images.generate(
        model="gpt-image-1",
        prompt="a beautiful landscape",
        n=3,
        size="1024x1024",
        output_format=output_format,
        extra_body={"seed": 42, "num_inference_steps": 4, "negative_prompt": "rain"},
    )

    assert {(image.format, image.size) for image in pictures(response)} == {(output_format.upper(), (1024, 1024))}
    assert (response.output_format, response.size, response.background) == (output_format, "1024x1024", "opaque")
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.usage.output_tokens == 3 * 1024


def test_generate_by_address(client: OpenAI) -> None:
    response = client.images.generate(model="dall-e-3", prompt="p", response_format="url")

    assert response.data
    assert response.data[0].url
    with urllib.request.urlopen(response.data[0].url) as answer, Image.open(io.BytesIO(answer.read())) as image:
        assert (image.format, image.size) == ("PNG", (128, 128))


def test_every_parameter_at_its_plainest(client: OpenAI) -> None:
    raw = client.images.with_raw_response.generate(
        prompt="p",
        background="auto",
        model="gpt-image-2",
        moderation="auto",
        n=1,
        output_compression=100,
        output_format="png",
        partial_images=0,
        quality="auto",
        size="auto",
        stream=False,
        user="somebody",
    )

    assert raw.headers["X-Danqing-Warning"] == "user ignored: users are not told apart here"
    assert len(pictures(raw.parse())) == 1


def test_edit_one_image(client: OpenAI, tmp_path: Path) -> None:
    (tmp_path / "input.png").write_bytes(png(GREEN))

    with (tmp_path / "input.png").open("rb") as image:
        response = client.images.edit(model="gpt-image-1", image=image, prompt="add a red flower", size="1024x1024")

    (picture,) = pictures(response)
    assert picture.size == (1024, 1024)


def test_edit_several_images_with_a_mask(client: OpenAI) -> None:
    response = client.images.edit(
        image=[("a.png", png(RED)), ("b.png", png(GREEN))],
        mask=("mask.png", mask()),
        prompt="put them together",
        n=2,
        input_fidelity="high",
        output_format="webp",
        extra_body={"strength": 0.5},
    )

    assert {image.format for image in pictures(response)} == {"WEBP"}
    assert len(pictures(response)) == 2


def test_variation(client: OpenAI) -> None:
    with pytest.warns(DeprecationWarning):  # OpenAI itself has retired the endpoint
        response = client.images.create_variation(image=("a.png", png()), n=2, size="256x256")

    assert [image.size for image in pictures(response)] == [(256, 256)] * 2


def test_generate_as_a_stream_of_one(client: OpenAI) -> None:
    with client.images.generate(prompt="p", stream=True, partial_images=0) as stream:
        assert [event.type for event in stream] == ["image_generation.completed"]


@pytest.mark.parametrize("partial_images", [1, 2, 3])
def test_generate_as_a_stream(streaming_client: OpenAI, partial_images: int) -> None:
    kinds = []
    with streaming_client.images.generate(
        prompt="p", stream=True, partial_images=partial_images, output_format="jpeg"
    ) as stream:
        for event in stream:
            kinds.append(event.type)
            assert decoded(event.b64_json).format == "JPEG"
            if event.type == "image_generation.completed":
                assert event.usage.total_tokens > 0
            else:
                assert event.partial_image_index == len(kinds) - 1

    assert kinds == ["image_generation.partial_image"] * partial_images + ["image_generation.completed"]


def test_edit_as_a_stream(streaming_client: OpenAI) -> None:
    with streaming_client.images.edit(image=("a.png", png()), prompt="p", stream=True, partial_images=2) as stream:
        kinds = [event.type for event in stream]

    assert kinds == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]


def test_models(client: OpenAI) -> None:
    listed = list(client.models.list())

    assert listed[0].id == "tiny"
    assert client.models.retrieve("dall-e-3").object == "model"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("midjourney")
    assert unknown.value.code == "model_not_found"


def test_bad_requests(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(prompt="p", n=11)
    assert (refused.value.code, refused.value.param) == ("INVALID_INPUT", "n")
    assert refused.value.type == "invalid_request_error"
    assert "n must be at most 10." in refused.value.message

    with pytest.raises(openai.BadRequestError) as transparent:
        client.images.edit(image=("a.png", png()), prompt="p", background="transparent")
    assert transparent.value.param == "background"

    with pytest.raises(openai.NotFoundError):
        client.images.generate(prompt="p", model="midjourney")


def test_a_wrong_key(tmp_path: Path) -> None:
    keys = Keys(enabled=True, ordinary=frozenset({"right"}))

    with (
        client_of(tmp_path, api_key="wrong", keys=keys) as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.images.generate(prompt="p")

    assert (refused.value.code, refused.value.type) == ("UNAUTHORIZED", "authentication_error")
    assert "Invalid API key" in refused.value.message


def test_a_right_key(tmp_path: Path) -> None:
    keys = Keys(enabled=True, ordinary=frozenset({"right"}))

    with client_of(tmp_path, api_key="right", keys=keys) as client:
        response = client.images.generate(prompt="p", response_format="url")
        assert response.data
        assert response.data[0].url
        with urllib.request.urlopen(response.data[0].url) as answer:  # without the key
            assert answer.status == 200


def test_a_full_queue(tmp_path: Path) -> None:
    # Given a queue of one, taken by a request whose picture is not made yet
    with (
        client_of(tmp_path, automatic=False, max_queue_size=1) as client,
        client.images.generate(prompt="before", stream=True),
    ):
        with pytest.raises(openai.RateLimitError) as refused:
            client.images.generate(prompt="p")
        with pytest.raises(openai.BadRequestError) as too_many:
            client.images.generate(prompt="p", n=2)

    assert refused.value.code == "QUEUE_FULL"
    assert refused.value.response.headers["Retry-After"] == "5"
    assert (too_many.value.code, too_many.value.param) == ("INVALID_INPUT", "n")


def test_a_failure_that_would_come_again_is_not_tried_again(tmp_path: Path) -> None:
    # Given a client that may try again twice
    with client_of(tmp_path, failure=OutOfMemory()) as client, client.with_options(max_retries=2) as eager:
        with pytest.raises(openai.InternalServerError) as failed:
            eager.images.generate(prompt="p")
        with urllib.request.urlopen(f"{str(client.base_url).removesuffix('v1/')}health") as answer:
            status = answer.status  # the server is well

    assert failed.value.code == "GENERATION_ERROR"
    assert failed.value.response.request.headers["x-stainless-retry-count"] == "0"
    assert status == 200


def test_a_failure_in_a_stream_is_raised(tmp_path: Path) -> None:
    with client_of(tmp_path, failure=OutOfMemory()) as client:
        stream = client.images.generate(prompt="p", stream=True)
        with pytest.raises(openai.APIError) as failed:
            list(stream)

    assert failed.value.code == "GENERATION_ERROR"
    assert failed.value.message.startswith("Image generation failed: Out of device memory")
