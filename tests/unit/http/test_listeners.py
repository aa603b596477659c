"""Opening ports, and saying clearly why one cannot be opened."""

import socket

import pytest

from danqing.http.listeners import CannotListen, Listener, open_listeners

LOCAL = Listener(host="127.0.0.1", port=0)


def test_a_free_port_is_taken_and_takes_connections_at_once() -> None:
    with open_listeners([LOCAL]) as (opened,):
        assert opened.url == f"http://127.0.0.1:{opened.port}"
        socket.create_connection(("127.0.0.1", opened.port), timeout=5).close()


def test_a_taken_port_is_named() -> None:
    with open_listeners([LOCAL]) as (opened,):
        taken = Listener(host="127.0.0.1", port=opened.port)

        with pytest.raises(CannotListen, match=rf"^Port {opened.port} on 127.0.0.1 is already in use"):
            open_listeners([taken]).__enter__()


def test_all_or_none() -> None:
    # Given a port that is free and one that is taken
    with open_listeners([LOCAL]) as (blocker,):
        with open_listeners([LOCAL]) as (probe,):
            free = Listener(host="127.0.0.1", port=probe.port)

        # When both are asked for
        with pytest.raises(CannotListen):
            open_listeners([free, Listener(host="127.0.0.1", port=blocker.port)]).__enter__()

    # Then the free one is free again
    with open_listeners([free]) as (opened,):
        assert opened.port == free.port


@pytest.mark.parametrize("host", ["192.0.2.1", "not a host", "no-such-host.invalid"])
def test_a_foreign_address(host: str) -> None:
    with pytest.raises(CannotListen, match="is not an address of this machine"):
        open_listeners([Listener(host=host, port=0)]).__enter__()


def test_the_same_port_twice() -> None:
    with open_listeners([LOCAL]) as (opened,):
        port = opened.port

    twice = [Listener(host="127.0.0.1", port=port), Listener(host="127.0.0.1", port=port, dialect="turbo")]
    with pytest.raises(CannotListen, match="already in use"):
        open_listeners(twice).__enter__()


@pytest.mark.parametrize(("host", "url"), [("0.0.0.0", "http://127.0.0.1:"), ("localhost", "http://localhost:")])
def test_the_address_shown_can_be_opened(host: str, url: str) -> None:
    with open_listeners([Listener(host=host, port=0)]) as (opened,):
        assert opened.url.startswith(url)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_the_address_that_is_bound_is_told_too(host: str) -> None:
    with open_listeners([Listener(host=host, port=0)]) as (opened,):
        assert opened.bound == f"{host}:{opened.port}"
