"""File names are safe whatever the prompt, and say which job's picture they name."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danqing.core.types import ArtifactKind, Job
from danqing.dialects.live.names import SLUG_CHARS, file_name, fingerprint_prefix, named_picture, slug
from tests.fakes.domain import a_job, a_request, an_original


def job_of(prompt: str) -> Job:
    job = a_job(
        request=a_request(prompt=prompt),
        fingerprint="abc12345" + "0" * 56,
        created_at=datetime(2026, 2, 4, 12, tzinfo=UTC),
    )
    return replace(job, artifacts=(an_original(job),))


def test_the_documents_example() -> None:
    job = job_of("a cute cat wearing sunglasses, digital art")

    assert file_name(job, ArtifactKind.ORIGINAL) == "20260204-a-cute-cat-wearing-sunglasses-abc12345.png"
    assert file_name(job, ArtifactKind.UPSCALED) == "20260204-a-cute-cat-wearing-sunglasses-abc12345-upscaled.png"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("一只戴墨镜的猫", "image"),
        ("🍕🍕🍕", "image"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "image"),
        ("CON", "con"),
        ("Café Ünïcode ﬁsh", "cafe-unicode-fish"),
        ("x" * 10_000, "x" * SLUG_CHARS),
        ("红色 red 100%  &?#/\\ \x00\n fish", "red-100-fish"),
        ("-- a -- b --", "a-b"),
        ("twenty-nine characters of text an", "twenty-nine-characters-of-text"),
        ("twenty-nine characters of texts", "twenty-nine-characters-of"),
    ],
)
def test_slugs(prompt: str, expected: str) -> None:
    assert slug(prompt) == expected


@given(st.text(max_size=200))
def test_any_prompt_makes_a_name_that_leads_back_to_its_job(prompt: str) -> None:
    job = job_of(prompt)
    name = file_name(job, ArtifactKind.ORIGINAL)

    assert re.fullmatch(r"20260204-[a-z0-9]+(-[a-z0-9]+)*-abc12345\.png", name)
    assert len(name) <= 60
    assert fingerprint_prefix(name) == "abc12345"
    assert named_picture(job, name) == job.original


def test_the_day_is_that_of_utc() -> None:
    evening = datetime(2026, 2, 4, 20, tzinfo=timezone(timedelta(hours=-8)))

    assert file_name(replace(job_of("x"), created_at=evening), ArtifactKind.ORIGINAL).startswith("20260205-")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "20260204-a-abc12345.PNG",
        "20260204-a-abc1234.png",
        "20260204-a-ABC12345.png",
        "20260204--abc12345.png.png",
        "20260204-a/b-abc12345.png",
        "20260204-a-abc12345-upscaled-upscaled.png",
        "２０２６０２０４-a-abc12345.png",
        "20260204-a-abc12345.png\n",
        "x" * 100_000,
    ],
)
def test_names_that_no_picture_has(name: str) -> None:
    assert fingerprint_prefix(name) is None


def test_a_picture_is_found_by_its_whole_name_only() -> None:
    job = job_of("a cat")

    assert named_picture(job, "20260204-a-cat-abc12345.png") == job.original
    for other in ("20260204-a-dog-abc12345.png", "20260205-a-cat-abc12345.png"):
        assert named_picture(job, other) is None
    # Not yet upscaled
    assert named_picture(job, "20260204-a-cat-abc12345-upscaled.png") is None
