"""Types of columns that read back what was stored, whatever the database makes of it."""

import re
from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, Text, TypeDecorator
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler

_MARK = "\ue000"  # of private use: hardly any text has it
_ENCODED = {_MARK: _MARK * 2, "\x00": _MARK + "0"}
_NEEDS_ENCODING = re.compile(f"[{_MARK}\x00]")
_NEEDS_DECODING = re.compile(f"{_MARK}([{_MARK}0])")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC and read back in UTC. Refuses naive ones with ValueError."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: in UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database: SQLite returns it naive, PostgreSQL aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class AnyText(TypeDecorator[str]):
    """Text that may have NULs, which PostgreSQL has no place for: there each is stored as U+E000 "0", and a U+E000
    twice. It is ordered by code points, so that indexes outlive a new version of the system's collations.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To the database."""
        if value is None or dialect.name != "postgresql" or not _NEEDS_ENCODING.search(value):
            return value
        return _NEEDS_ENCODING.sub(lambda found: _ENCODED[found[0]], value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """From the database."""
        if value is None or dialect.name != "postgresql" or _MARK not in value:
            return value
        return _NEEDS_DECODING.sub(lambda found: "\x00" if found[1] == "0" else _MARK, value)


@compiles(AnyText, "postgresql")
def _in_a_table(element: AnyText, compiler: DDLCompiler, **options: object) -> str:
    return 'TEXT COLLATE "C"'
