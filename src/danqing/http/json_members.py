"""How many members a client's JSON may have: what is wrong with each is told by itself, in the event loop's time."""

from danqing.core.errors import InvalidRequest

MAX_MEMBERS = 20_000  # more commas or colons than any request has, those in its texts counted


def check_members(text: str | bytes) -> None:
    """Before it is parsed. Raises InvalidRequest."""
    most = max(text.count(","), text.count(":")) if isinstance(text, str) else max(text.count(b","), text.count(b":"))
    if most > MAX_MEMBERS:
        raise InvalidRequest(f"The request has too many members or entries; the limit is {MAX_MEMBERS}.")
