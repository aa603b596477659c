"""How the address of a PostgreSQL database may be written."""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

DRIVER = "postgresql+psycopg"
_SCHEMES = frozenset({"postgres", "postgresql", DRIVER, "postgresql+asyncpg", "postgresql+psycopg2"})


def postgres_address(url: str) -> URL:
    """The same database by the driver that we use, whatever driver the URL is written for.

    What its query says (sslmode, sslrootcert, …) goes to the driver as it is; `ssl` is asyncpg's name for sslmode.
    Raises ValueError, which does not repeat the URL: it may have a password.
    """
    try:
        address = make_url(url)
    except ArgumentError:
        address = None
    except ValueError:  # a port that is no number
        address = None
    if address is None or address.drivername not in _SCHEMES:
        raise ValueError("write it like postgresql://user:password@host:5432/database")
    query = dict(address.query)
    if (ssl := query.pop("ssl", None)) is not None:
        query.setdefault("sslmode", "require" if ssl == "true" else "disable" if ssl == "false" else ssl)
    return address.set(drivername=DRIVER, query=query)
