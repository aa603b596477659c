"""Which failures tell of a part that is away, and which of one that answers and says no."""

import socket
import ssl
import threading
from collections.abc import Iterator

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError

from danqing.wiring.part_failures import reason_of, says_no
from danqing.wiring.part_states import PartAway, check_link

LIBPQ = 'connection failed: connection to server at "{host}", port 5432 failed: {said}'


def from_libpq(said: str, *, host: str = "127.0.0.1") -> Exception:
    """As SQLAlchemy passes it on."""
    error = psycopg.OperationalError(LIBPQ.format(host=host, said=said))
    failure = OperationalError(None, None, error)
    failure.__cause__ = error
    return failure


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (from_libpq("Connection refused\n\tIs the server running there?", host="pg-ssl"), "nobody listens there"),
        (from_libpq("Connection refused", host="certificate verify failed"), "nobody listens there"),
        (from_libpq("SSL connection has been closed unexpectedly"), "it closed the connection"),
        (from_libpq("SSL SYSCALL error: EOF detected"), "it closed the connection"),
        (from_libpq('FATAL:  the database system is starting up "noauth"'), "it is just starting or ending"),
        (psycopg.OperationalError("failed to resolve host 'noauth-tls': Name or service not known"), "no such host"),
        (from_libpq('relation "role" does not exist'), "it cannot be used (OperationalError)"),
        (ConnectionRefusedError("certificate verify failed"), "nobody listens there"),
        (socket.gaierror("wrongpass.example"), "no such host"),
        (TimeoutError("wrongpass"), "no answer"),
        (ConnectionResetError("wrongpass"), "it closed the connection"),
        (ssl.SSLEOFError("EOF occurred in violation of protocol"), "it closed the connection"),
    ],
)
def test_what_is_away_says_no_by_no_word(failure: Exception, reason: str) -> None:
    assert (reason_of(failure), says_no(failure)) == (reason, False)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (from_libpq('FATAL:  password authentication failed for user "timeout"'), "wrong password"),
        (from_libpq("fe_sendauth: no password supplied"), "it wants a password"),
        (from_libpq('FATAL:  database "refused" does not exist'), "no such database"),
        (from_libpq('FATAL:  role "x" does not exist'), "no such database or user"),
        (from_libpq('FATAL:  no pg_hba.conf entry for host "::1", user "x", no encryption'), "pg_hba.conf"),
        (from_libpq("SSL error: certificate verify failed"), "no encrypted connection"),
        (from_libpq("server does not support SSL, but SSL was required"), "no encrypted connection"),
        (ssl.SSLCertVerificationError("self-signed certificate"), "no encrypted connection"),
        (psycopg.errors.InvalidPassword("Passwort-Authentifizierung fehlgeschlagen"), "wrong password"),
        (psycopg.errors.InvalidAuthorizationSpecification("Rolle"), "does not let this user in"),
        (psycopg.errors.InvalidCatalogName("Datenbank gibt es nicht"), "no such database"),
        (ValueError("AUTH <password> called without any password configured"), "it wants no password"),
    ],
)
def test_what_answers_and_refuses_the_settings_says_no(failure: Exception, reason: str) -> None:
    assert says_no(failure)
    assert reason in reason_of(failure)


@pytest.fixture
def closing_port() -> Iterator[int]:
    """As of a TLS balancer with nobody behind it: takes connections, and closes them."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_all() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(65536)
                connection.close()

        threading.Thread(target=close_all, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("address", ["rediss://127.0.0.1:{port}/0", "amqps://guest:guest@127.0.0.1:{port}//"])
def test_a_balancer_that_closes_is_a_part_that_is_away(closing_port: int, address: str) -> None:
    with pytest.raises(PartAway, match="it closed the connection") as away:
        check_link(SecretStr(address.format(port=closing_port)))
    assert not away.value.says_no


def test_words_in_an_address_do_not_matter() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"redis://certificate-tls-wrongpass.localhost:{nobody.getsockname()[1]}/0"
        with pytest.raises(PartAway) as away:
            check_link(SecretStr(address))
    assert not away.value.says_no
