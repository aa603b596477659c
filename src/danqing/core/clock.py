"""The clock of the house: what is given to whatever needs one, outside tests that have their own."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)
