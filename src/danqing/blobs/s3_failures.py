"""What the S3 library raises, as ours. Its texts have addresses in them, signed ones too, and are shown nowhere."""

import re
from collections.abc import Generator
from contextlib import contextmanager

import structlog
from obstore.exceptions import BaseError

from danqing.core.errors import ArtifactNotFound, StorageAway, StorageFailure

log = structlog.get_logger(__name__)

# The library gives a name to little; the rest is told by what S3 answered, or by what the connection did.
_CODE = re.compile(r"<Code>(?P<code>[A-Za-z]{1,64})</Code>|\(code: (?P<of_one>[A-Za-z]{1,64})\)")  # of_one: of many
_STATUS = re.compile(r"status code: (?P<status>[1-5][0-9]{2})\b")
_CONNECTION = re.compile(r"\bkind: (?P<kind>Connect|Interrupted|Timeout|Decode|Request)\b")
_CERTIFICATE = re.compile(r"\bInvalidCertificate\(\s*(?P<fault>[A-Za-z]{1,64})")
_NO_CREDENTIALS = re.compile(r"credential", re.IGNORECASE)
_NO_BUCKET = "NoSuchBucket"
_NO_OBJECT = "NoSuchKey"
_CONNECTION_FAILED = "the connection failed"
_WORDS = {"Connect": "no connection", "Interrupted": "the connection broke", "Timeout": "no answer in time"}
_AWAY = {*_WORDS.values(), _CONNECTION_FAILED, "SlowDown", "ServiceUnavailable", "InternalError"}


@contextmanager
def translated(doing: str, name: str = "") -> Generator[None]:
    """doing: one word for the log. Inside, what the library raises becomes ArtifactNotFound, StorageAway or
    StorageFailure."""
    try:
        yield
    except FileNotFoundError as exc:
        if _NO_BUCKET not in str(exc):
            raise ArtifactNotFound from exc
        log.error(f"artifact_{doing}_failed", name=name, reason=_NO_BUCKET)
        raise StorageFailure from exc
    except (BaseError, OSError, ValueError) as exc:
        reason = reason_of(exc)
        if reason == _NO_OBJECT:
            raise ArtifactNotFound from exc
        log.error(f"artifact_{doing}_failed", name=name, reason=reason)
        raise (StorageAway if is_away(reason) else StorageFailure) from exc


def reason_of(error: BaseException) -> str:
    """In a few words of our own, or in S3's own word for it (`SignatureDoesNotMatch`)."""
    text = str(error)
    if found := _CODE.search(text):
        return found["code"] or found["of_one"]
    if found := _STATUS.search(text):
        return f"HTTP status {found['status']}"
    if found := _CERTIFICATE.search(text):
        return f"its certificate is not trusted ({found['fault']})"
    if found := _CONNECTION.search(text):
        return _WORDS.get(found["kind"], _CONNECTION_FAILED)
    return "no credentials" if _NO_CREDENTIALS.search(text) else type(error).__name__


def is_away(reason: str) -> bool:
    """Whether it tells of a place that cannot be reached, or cannot answer just now; not of one that says no."""
    return reason in _AWAY or reason.startswith("HTTP status 5")


def root_reason(error: BaseException) -> str:
    """Of what was translated."""
    while error.__cause__ is not None:
        error = error.__cause__
    return "what was written is not there" if isinstance(error, StorageFailure) else reason_of(error)
