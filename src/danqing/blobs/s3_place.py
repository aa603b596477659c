"""Where an S3-compatible object store is, and how long it may take. Knows nothing of the library that talks to it."""

import re
from dataclasses import dataclass, field
from pathlib import Path

_ADDRESS = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>[A-Za-z0-9._/-]*))?")


@dataclass(frozen=True, kw_only=True)
class S3Patience:
    """How long one request may take, and how often it is tried, until the store counts as failed. In seconds.

    request_s: of one request, its body included. retry_s: no more tries are begun after so long.
    """

    connect_s: float = 5.0
    request_s: float = 30.0
    retries: int = 3
    retry_s: float = 15.0


@dataclass(frozen=True, kw_only=True)
class S3Place:
    """A part of a bucket, and who may use it. Picklable.

    prefix: without slashes at its ends; "" for the whole bucket. endpoint: None for Amazon's own. redirects: whether
    clients fetch pictures there themselves, at public_endpoint; None: at the endpoint. access_key_id,
    secret_access_key: None for what the machine gives (a role, say). path_style: the bucket in the path, not in the
    host name. authorities: PEM, trusted beside those of the system. staging: a local folder; its parent must be there.
    """

    bucket: str
    prefix: str
    region: str
    staging: Path
    endpoint: str | None = None
    redirects: bool = False
    public_endpoint: str | None = None
    path_style: bool = False
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    authorities: bytes | None = field(default=None, repr=False)
    patience: S3Patience = S3Patience()

    @property
    def address(self) -> str:
        """As people write it."""
        return "/".join(part for part in (f"s3://{self.bucket}", self.prefix) if part)


def parse_address(text: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/a/prefix`. Raises ValueError."""
    found = _ADDRESS.fullmatch(text.strip())
    prefix = (found["prefix"] or "").strip("/") if found else ""
    if found is None or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
        raise ValueError("write it like s3://bucket/prefix, with or without a prefix")
    return found["bucket"], prefix
