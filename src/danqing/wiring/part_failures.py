"""Why a part that several processes share cannot be used: it is away, or it answers and says no. By the class of an
error or its SQLSTATE where they tell it; else by words of the libraries, of which none are repeated.
"""

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class _Why:
    reason: str
    says_no: bool = False


_WRONG_PASSWORD = _Why("wrong password", says_no=True)
_WANTS_PASSWORD = _Why("it wants a password, and the address has none", says_no=True)
_WANTS_NONE = _Why("it wants no password, and the address has one", says_no=True)
_NO_ENTRY = _Why("it lets nobody in from this machine; see its pg_hba.conf", says_no=True)
_NO_DATABASE = _Why("it has no such database or user", says_no=True)
_NO_VHOST = _Why("it has no such virtual host", says_no=True)
_TLS = "no encrypted connection; see the address' scheme or sslmode, and its certificate"
_UNTRUSTED = _Why(_TLS, says_no=True)
_REFUSED = _Why("nobody listens there")
_NO_HOST = _Why("no such host")
_NO_ANSWER = _Why("no answer")
_CLOSED = _Why("it closed the connection")

# The first that is found counts, in each of these.
_CLASSES: tuple[tuple[tuple[type[BaseException], ...], _Why], ...] = (
    ((ssl.SSLCertVerificationError,), _UNTRUSTED),
    ((ConnectionRefusedError,), _REFUSED),
    ((socket.gaierror,), _NO_HOST),
    ((TimeoutError,), _NO_ANSWER),
    ((ConnectionError, EOFError, ssl.SSLEOFError, ssl.SSLZeroReturnError), _CLOSED),
    ((ssl.SSLError,), _Why(_TLS)),
)
_CLASSES_OF_EXTRAS = {  # by name, for these libraries may not be installed
    "amqp.exceptions.AccessRefused": _WRONG_PASSWORD,
    "amqp.exceptions.NotAllowed": _NO_VHOST,
    "redis.exceptions.TimeoutError": _NO_ANSWER,
}
_SQLSTATES = (
    ("28P01", _WRONG_PASSWORD),
    ("28", _Why("it does not let this user in", says_no=True)),
    ("3D000", _NO_DATABASE),
)
_WORDS = (
    (("no pg_hba.conf entry",), _NO_ENTRY),
    (("password authentication failed", "invalid username-password", "wrongpass"), _WRONG_PASSWORD),
    (("noauth", "authentication required", "authentication failed", "no password supplied"), _WANTS_PASSWORD),
    (("without any password configured",), _WANTS_NONE),
    (("certificate verify failed", "does not support ssl", "does not match host name"), _UNTRUSTED),
    (("database does not exist", "role does not exist", "no such database"), _NO_DATABASE),
    (("too many clients", "remaining connection slots", "max number of clients"), _Why("it has no connection left")),
    (("starting up", "shutting down", "recovery mode", "loading"), _Why("it is just starting or ending")),
    (("could not translate", "name or service not known", "name resolution", "nodename", "resolve host"), _NO_HOST),
    (("refused", "is the server running"), _REFUSED),
    (("timeout", "timed out"), _NO_ANSWER),
    (("closed", "reset by peer", "eof detected"), _CLOSED),
    (("certificate", "ssl", "tls"), _Why(_TLS)),
)

# Names of hosts, users, databases and files, which may be any words.
_NAMES = re.compile(r""""[^"\n]*"|'[^'\s]*'|connecting to \S+""")


def reason_of(failure: BaseException) -> str:
    """None of a library's text, or of the address, is in it."""
    why = _why(failure)
    return f"it cannot be used ({type(failure).__name__})" if why is None else why.reason


def says_no(failure: BaseException) -> bool:
    """Whether it tells of a part that answers, and will go on to refuse what the settings say."""
    why = _why(failure)
    return why is not None and why.says_no


def _why(failure: BaseException) -> _Why | None:
    chain = list(_chain(failure))
    for found in (_by_class, _by_sqlstate, _by_words, _by_class_without_words):
        if (why := next((why for error in chain if (why := found(error)) is not None), None)) is not None:
            return why
    return None


def _chain(failure: BaseException) -> Iterator[BaseException]:
    """The failure, and what it came of."""
    seen = set[int]()
    error: BaseException | None = failure
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _by_class(error: BaseException) -> _Why | None:
    names = [f"{base.__module__}.{base.__qualname__}" for base in type(error).__mro__]
    extra = next((_CLASSES_OF_EXTRAS[name] for name in names if name in _CLASSES_OF_EXTRAS), None)
    return extra or next((why for classes, why in _CLASSES if isinstance(error, classes)), None)


def _by_class_without_words(error: BaseException) -> _Why | None:
    """A Redis that lets nobody in has many words for it."""
    bases = (f"{base.__module__}.{base.__qualname__}" for base in type(error).__mro__)
    return _WANTS_PASSWORD if "redis.exceptions.AuthenticationError" in bases else None


def _by_sqlstate(error: BaseException) -> _Why | None:
    """In whatever language; but of a connection that PostgreSQL refused, psycopg gives the words alone."""
    state = getattr(error, "sqlstate", None)
    return next((why for code, why in _SQLSTATES if isinstance(state, str) and state.startswith(code)), None)


def _by_words(error: BaseException) -> _Why | None:
    said = " ".join(_NAMES.sub(" ", str(error)).lower().split())
    return next((why for words, why in _WORDS if any(word in said for word in words)), None)
