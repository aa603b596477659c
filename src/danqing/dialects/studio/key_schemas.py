"""The studio's wire models of issued keys."""

from datetime import date, datetime

from pydantic import BaseModel, ConfigDict, Field

from danqing.core.issued_keys import MAX_NAME_CHARS


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewKey(BaseModel):
    """Body of `POST /studio/keys`. name: whose it will be, for people."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str = Field(max_length=MAX_NAME_CHARS)


class KeyView(_Answer):
    """A key that was issued. owner: what its bearer is called in batches. last_used_on: the day, in UTC."""

    id: str
    name: str
    owner: str
    created_at: datetime
    last_used_on: date | None


class IssuedKeyView(KeyView):
    """key: what its bearer sends. It is told here and never again."""

    key: str


class KeyList(_Answer):
    """keys: newest first; those of the server's settings are not among them."""

    keys: list[KeyView]
