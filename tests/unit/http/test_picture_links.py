"""Signed addresses open their picture, until they expire, and nothing else."""

from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from danqing.http.picture_links import LIFETIME_S, ROUNDING_S, PictureLinks

PATH = "/pictures/日落 ?&#.png"


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def opened(links: PictureLinks, address: str, *, path: str | None = None) -> bool:
    parts = urlsplit(address)
    return links.opens(path or unquote(parts.path), dict(parse_qsl(parts.query)))


def had_opened(links: PictureLinks, address: str, *, path: str | None = None) -> bool:
    parts = urlsplit(address)
    return links.had_opened(path or unquote(parts.path), dict(parse_qsl(parts.query)))


def test_an_address_opens_its_picture_until_it_expires() -> None:
    clock = Clock()
    links = PictureLinks(b"secret", now=clock)
    address = links.sign(PATH)

    assert address.isascii() and unquote(urlsplit(address).path) == PATH
    clock.now += LIFETIME_S - 1
    assert opened(links, address)
    clock.now += ROUNDING_S + 1
    assert not opened(links, address)


def test_addresses_stay_equal_for_a_while_so_that_browsers_can_keep_pictures() -> None:
    clock = Clock()
    clock.now = 600.0 * 1_000_000
    links = PictureLinks(b"secret", now=clock)
    first = links.sign(PATH)
    clock.now -= 1
    assert links.sign(PATH) == first
    clock.now += ROUNDING_S
    assert links.sign(PATH) != first


def test_a_lifetime_can_be_chosen() -> None:
    clock = Clock()
    links = PictureLinks(b"secret", now=clock)
    address = links.sign(PATH, lifetime_s=10)
    assert not had_opened(links, address)
    clock.now += 10 + ROUNDING_S

    assert not opened(links, address)
    assert had_opened(links, address)
    assert not had_opened(links, address, path="/pictures/other.png")
    assert not had_opened(PictureLinks(None), address)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"expires": "9999999999"},
        {"expires": "9999999999", "signature": ""},
        {"expires": "9999999999", "signature": "ü" * 64},
        {"expires": "-1", "signature": "0" * 64},
        {"expires": "١", "signature": "0" * 64},
        {"expires": "9" * 5000, "signature": "0" * 64},
    ],
)
def test_what_was_not_signed_opens_nothing(query: dict[str, str]) -> None:
    links = PictureLinks(b"secret")
    assert not links.opens(PATH, query)
    assert not links.had_opened(PATH, query)


def test_an_address_cannot_be_bent() -> None:
    links = PictureLinks(b"secret")
    address = links.sign(PATH)
    query = dict(parse_qsl(urlsplit(address).query))

    assert not opened(links, address, path="/pictures/other.png")
    assert not links.opens(PATH, query | {"expires": str(int(query["expires"]) + 1)})
    assert not opened(PictureLinks(b"another"), address)


def test_without_keys_addresses_are_plain() -> None:
    links = PictureLinks(None)

    assert links.sign("/pictures/a b.png") == "/pictures/a%20b.png"
    assert links.opens("/pictures/a b.png", {})
