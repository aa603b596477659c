"""The secret that the processes on one database share, where one machine has a file (`server_secret.py`)."""

import secrets

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from danqing.store.shared_schema import server_secrets

SECRET_BYTES = 32
NAME = "server"

DRAW = insert(server_secrets).on_conflict_do_nothing()
READ = select(server_secrets.c.secret).where(server_secrets.c.name == bindparam("of_name"))


def shared_secret(connection: Connection) -> bytes:
    """It signs addresses and keys fingerprints. Drawn by whoever asks first."""
    secret: bytes | None = connection.execute(READ, {"of_name": NAME}).scalar()
    if secret is not None:
        return secret
    connection.execute(DRAW, {"name": NAME, "secret": secrets.token_bytes(SECRET_BYTES)})
    return connection.execute(READ, {"of_name": NAME}).scalar_one()
