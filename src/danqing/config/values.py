"""How single settings are written: what a value may look like before it is one."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from danqing.blobs.s3_place import parse_address

_USER = re.compile(r"(?<=://)[^/\s]*@")


@dataclass(frozen=True, kw_only=True)
class Variable:
    """How a setting is found and who uses it. aliases: plain names that other servers' `.env` files use for it."""

    read_by: str
    aliases: tuple[str, ...] = ()
    unit: str = ""


class DialectPort(BaseModel):
    """A further port that speaks exactly one dialect; written `turbo=5000`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dialect: str = Field(min_length=1)
    port: int = Field(ge=0, le=65535)


class ModelAlias(BaseModel):
    """Names that clients use for a model, `*` standing for anything; written `gpt-image-*=z-image-turbo`.

    model: an id on offer, or `default`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str = Field(min_length=1)
    model: str = Field(min_length=1)

    def __str__(self) -> str:
        return f"{self.pattern}={self.model}"


def split_list(text: object) -> object:
    """`a, b` as a list."""
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


def strip_blanks(text: object) -> object:
    """Keys are pasted, and a blank that came with one would keep its bearer out."""
    return text.strip() if isinstance(text, str) else text


def parse_public_url(text: object) -> object:
    """`https://studio.example/base`, with a slash at its end. Raises ValueError."""
    if not isinstance(text, str):
        return text
    parts = _web_address(text.strip())
    if parts is None:
        raise ValueError("write it like https://studio.example/, with or without a path")
    if "@" in parts.netloc or parts.query or parts.fragment or any(sign.isspace() for sign in text.strip()):
        raise ValueError("it can have no user, query, fragment or blank")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/"


def check_origin(text: str) -> str:
    """`https://studio.example:8443`, or `null`. Raises ValueError."""
    if text == "null":
        return text
    parts = _web_address(text)
    if parts is None or "@" in parts.netloc or text != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("an origin is written like https://studio.example:8443, without a user and a path")
    return text


def _web_address(text: str) -> SplitResult | None:
    """None for what is none."""
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # whose text may have a part of a password in it
        return None
    return parts if is_one else None


def without_password(text: str) -> str:
    """The same, with stars for what stands before the host of an address in it."""
    return _USER.sub("***@", text)


def parse_endpoint(text: object) -> object:
    """`https://s3.example:9000`, without a slash at its end. Raises ValueError."""
    url = parse_public_url(text)
    return url.rstrip("/") if isinstance(url, str) else url


def check_object_store(text: object) -> object:
    """`s3://bucket/prefix`. Raises ValueError."""
    if isinstance(text, str):
        parse_address(text)
        return text.strip()
    return text


def dtype_name(text: object) -> object:
    """`torch.bfloat16` and `BFLOAT16` mean bfloat16: existing `.env` files write it in each way."""
    return text.lower().removeprefix("torch.") if isinstance(text, str) else text


def parse_dialect_port(text: object) -> object:
    """`turbo=5000` as the fields of a `DialectPort`."""
    return _two_fields(text, "dialect", "port")


def parse_model_alias(text: object) -> object:
    """`gpt-image-*=default` as the fields of a `ModelAlias`."""
    return _two_fields(text, "pattern", "model")


def _two_fields(text: object, first: str, second: str) -> object:
    if not isinstance(text, str):
        return text
    left, _, right = text.partition("=")
    return {first: left.strip(), second: right.strip()}
