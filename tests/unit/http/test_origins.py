"""Which machines and pages may call, and under which names."""

import pytest
from starlette.datastructures import Headers

from danqing.core.errors import Forbidden
from danqing.http.origins import GateRules, cors_headers

LOOPBACK = GateRules(loopback_only=True, allowed_hosts=frozenset({"Studio.example"}))
OPEN = GateRules(loopback_only=False, allowed_origins=frozenset({"https://studio.example", "http://lan:8080"}))


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000", "LOCALHOST", "a.localhost:1",
     "studio.example", "STUDIO.example:8000", "localhost.", "localhost.:8000", "studio.example.",
     "[::ffff:127.0.0.1]:8000"],
)  # fmt: skip
def test_names_of_this_machine_and_listed_ones_are_answered_to(host: str) -> None:
    LOOPBACK.check_host({}, Headers({"host": host}))


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.1.5", "0.0.0.0",
     "", "[::1", "a@localhost", "localhost:x", "evil.example#localhost", "notlocalhost",
     "evil.example.", "localhost..", "."],
)  # fmt: skip
def test_a_strange_name_is_refused_on_loopback(host: str) -> None:
    with pytest.raises(Forbidden):
        LOOPBACK.check_host({}, Headers({"host": host}))


def test_of_two_names_both_count() -> None:
    with pytest.raises(Forbidden):
        LOOPBACK.check_host({}, Headers(raw=[(b"host", b"localhost"), (b"host", b"evil.example")]))


def test_a_server_for_others_answers_to_any_name() -> None:
    OPEN.check_host({}, Headers({"host": "whatever.example"}))


WELCOME = [
    ("http://here.example", "here.example"),
    ("http://here.example:8000", "here.example:8000"),
    ("https://here.example", "here.example"),  # a proxy ends TLS
    ("https://here.example", "here.example:443"),
    ("http://here.example", "HERE.example"),
    ("http://localhost:3000", "here.example"),
    ("http://127.0.0.1", "here.example"),
    ("http://[::1]:5173", "here.example"),
    ("https://studio.example", "here.example"),
    ("http://lan:8080", "here.example"),
]
STRANGE = [
    "null",
    "",
    "file://",
    "http://evil.example",
    "http://here.example:9000",
    "http://here.example.evil.example",
    "http://studio.example",
    "https://studio.example:444",
    "http://lan",
    "http://here.example/",
    "http://user@here.example",
    "http://localhost@evil.example",
    "http://localhost.evil.example",
    "HTTP://here.example",
    "ftp://here.example",
    "http://here.example:port",
    "http://[::1",
    "here.example",
    "http://here.example, http://evil.example",
]


@pytest.mark.parametrize(("origin", "host"), WELCOME)
def test_welcome_pages(origin: str, host: str) -> None:
    OPEN.check_origin(Headers({"host": host, "origin": origin}))


@pytest.mark.parametrize("origin", STRANGE)
def test_pages_of_strangers_change_nothing_and_are_shown_nothing(origin: str) -> None:
    headers = Headers({"host": "here.example", "origin": origin})

    with pytest.raises(Forbidden):
        OPEN.check_origin(headers)
    assert OPEN.may_read(headers) is None


@pytest.mark.parametrize(
    ("referer", "shown"),
    [
        ("http://localhost:3000/", True),
        ("http://127.0.0.1:3000/a/b?c=//evil.example", True),
        ("https://studio.example/", True),
        ("https://studio.example", True),
        ("https://studio.example.evil.example/", False),
        ("https://evil.example/https://studio.example/", False),
        ("https://studio.example@evil.example/", False),
        ("null", False),
        ("", False),
        ("nonsense", False),
    ],
)
def test_pages_that_may_have_pictures_in_them(referer: str, shown: bool) -> None:
    rules = GateRules(loopback_only=False, allowed_origins=frozenset({"https://studio.example"}))

    assert rules.may_show(Headers({"host": "here.example", "referer": referer})) is shown
    assert not rules.may_show(Headers({"host": "here.example"}))


def test_pages_that_hide_their_origin_are_welcome_only_where_that_is_listed() -> None:
    listed = GateRules(loopback_only=False, allowed_origins=frozenset({"null"}))
    hidden = Headers({"host": "here.example", "origin": "null"})

    # A file that was opened in a browser sends this to fetch, and neither for a picture that it has in it
    listed.check_origin(hidden)
    assert listed.may_read(hidden) == "null"
    assert listed.may_show(Headers({"host": "here.example"}))
    # Then other pages are not
    for origin in STRANGE:
        if origin != "null":
            with pytest.raises(Forbidden):
                listed.check_origin(Headers({"host": "here.example", "origin": origin}))
    assert not listed.may_show(Headers({"host": "here.example", "referer": "https://evil.example/"}))


def test_programs_have_no_origin() -> None:
    OPEN.check_origin(Headers({"host": "here.example"}))


def test_two_origins_are_one_too_many() -> None:
    with pytest.raises(Forbidden):
        OPEN.check_origin(Headers(raw=[(b"origin", b"http://localhost"), (b"origin", b"http://localhost")]))


@pytest.mark.parametrize("origin", ["*", "studio.example", "https://studio.example/", "NULL", "https://"])
def test_a_list_that_would_never_match_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="Not an origin"):
        GateRules(loopback_only=False, allowed_origins=frozenset({origin}))


def test_listed_names_are_the_only_ones_whatever_the_address() -> None:
    listed = GateRules(loopback_only=False, allowed_hosts=frozenset({"Studio.example.", "2001:db8::1"}))

    for host in ("studio.example:8000", "localhost:8000", "127.0.0.1", "[2001:db8::1]:8000"):
        listed.check_host({}, Headers({"host": host}))
    with pytest.raises(Forbidden):
        listed.check_host({}, Headers({"host": "evil.example"}))


@pytest.mark.parametrize("host", ["https://studio.example", "studio.example:8000", "*", "studio.example/", "a b"])
def test_a_host_that_would_never_match_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        GateRules(loopback_only=True, allowed_hosts=frozenset({host}))


MANAGED = GateRules(loopback_only=None, local_clients_only=True)


@pytest.mark.parametrize(
    ("server", "checked"),
    [
        (("127.0.0.1", 8000), True),
        (("::1", 8000), True),
        (("192.168.1.5", 8000), False),
        (("0.0.0.0", 8000), False),
        (("/run/danqing.sock", None), False),
        (None, False),
    ],
)
def test_where_others_chose_the_address_the_connection_tells(server: object, checked: bool) -> None:
    strange, own = Headers({"host": "evil.example"}), Headers({"host": "localhost:8000"})

    MANAGED.check_host({"server": server}, own)
    if checked:
        with pytest.raises(Forbidden):
            MANAGED.check_host({"server": server}, strange)
    else:
        MANAGED.check_host({"server": server}, strange)


HERE, SOCKET = ("127.0.0.1", 8000), ("/run/danqing.sock", None)


@pytest.mark.parametrize(
    ("client", "server"),
    [(("127.0.0.1", 1), HERE), (("127.8.8.8", 1), HERE), (("::1", 1), ("::1", 8000)),
     (("::ffff:127.0.0.1", 1), ("::ffff:127.0.0.1", 8000)), (None, SOCKET)],
)  # fmt: skip
def test_clients_of_this_machine(client: object, server: object) -> None:
    MANAGED.check_client({"client": client, "server": server})


@pytest.mark.parametrize(
    ("client", "server"),
    [(("192.168.1.20", 1), HERE), (("2001:db8::1", 1), HERE), (("::ffff:192.0.2.1", 1), HERE), (("localhost", 1), HERE),
     (("", 0), SOCKET), (None, HERE), (None, None), (("192.0.2.1", 1), SOCKET)],
)  # fmt: skip
def test_clients_of_other_machines_and_of_nobody_knows_where(client: object, server: object) -> None:
    with pytest.raises(Forbidden, match="DANQING_ALLOW_PUBLIC=true"):
        MANAGED.check_client({"client": client, "server": server})
    OPEN.check_client({"client": client, "server": server})


def test_a_page_may_read_the_headers_that_tell_what_was_left_out() -> None:
    exposed = cors_headers("https://a.example")["Access-Control-Expose-Headers"].split(", ")
    assert {"X-Danqing-Warning", "Retry-After", "X-Request-Id"} <= set(exposed)
