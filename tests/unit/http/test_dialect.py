"""Which dialect a path belongs to."""

import pytest

from danqing.http.dialect import DialectsByPath
from tests.unit.http.made_up import a_dialect

WIDE = a_dialect("wide", "/api", "/health")
NARROW = a_dialect("narrow", "/api/image", "/health")


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/api", "wide"),
        ("/api/", "wide"),
        ("/api/nothing", "wide"),
        ("/api/image", "narrow"),
        ("/api/image/a/b.png", "narrow"),
        ("/api/images", "wide"),
        ("/api/image//", "narrow"),
        ("/api//image", "wide"),
        ("/api/imag/" + "a/" * 5000, "wide"),
        ("/health", "wide"),
        ("/apis", None),
        ("/", None),
        ("", None),
    ],
)
def test_the_longest_prefix_wins_then_the_first_dialect(path: str, owner: str | None) -> None:
    found = DialectsByPath((WIDE, NARROW)).of(path)

    assert (found.name if found else None) == owner


def test_without_dialects_no_path_has_an_owner() -> None:
    assert DialectsByPath(()).of("/api") is None
