"""Runs migrations with Alembic."""

from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

_one_at_a_time = Lock()  # Alembic keeps what it does in variables of its modules


def upgrade(connection: Connection, revision: str) -> None:
    """Those that the database lacks up to this one, or to "head", within the transaction that is begun."""
    with _one_at_a_time:
        command.upgrade(config(connection=connection), revision)


def config(**attributes: object) -> Config:
    """Where Alembic finds the migrations. attributes: what `env.py` is given."""
    made = Config(attributes=attributes)
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return made
