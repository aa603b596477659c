"""The settings of what several processes share once one machine is outgrown: database, broker, events, pictures."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from danqing.config.values import Variable, strip_blanks


class SharedParts(BaseModel):
    """Where they are. None of them is needed on one machine; see `docs/scaling.md`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    database_url: Annotated[
        SecretStr | None, BeforeValidator(strip_blanks), Variable(aliases=("DATABASE_URL",), read_by="wiring: stores")
    ] = None
    """PostgreSQL, such as `postgresql://user:password@db/danqing`; not set: SQLite in the data dir."""

    redis_url: Annotated[
        SecretStr | None,
        BeforeValidator(strip_blanks),
        Variable(aliases=("REDIS_URL",), read_by="wiring: events, queue"),
    ] = None
    """Redis that carries events and, without a broker URL, jobs; pictures are then made by `danqing worker`."""

    broker_url: Annotated[
        SecretStr | None,
        BeforeValidator(strip_blanks),
        Variable(aliases=("CELERY_BROKER_URL",), read_by="wiring: queue"),
    ] = None
    """Broker of Celery, such as `amqp://user:password@mq//`; not set: the Redis URL."""

    node_name: Annotated[str | None, Field(min_length=1, max_length=100), Variable(read_by="wiring: node")] = None
    """What this machine's `danqing worker` is called; not set: the machine's host name."""

    lease_s: Annotated[float, Field(ge=1), Variable(read_by="wiring: node", unit="seconds")] = 15.0
    """How long the jobs of a worker that says nothing stay its own; then they are given to others."""
