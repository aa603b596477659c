"""The settings of what several processes share once one machine is outgrown: database, broker, events, pictures."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from danqing.config.values import Variable, check_object_store, parse_endpoint, strip_blanks


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

    start_wait_s: Annotated[float | None, Field(ge=0), Variable(read_by="wiring: start", unit="seconds")] = None
    """How long a start waits for a database or an object store that does not answer; not set: until it does."""

    object_store: Annotated[str | None, BeforeValidator(check_object_store), Variable(read_by="wiring: artifacts")] = (
        None
    )
    """Where pictures go in an S3-compatible store, such as `s3://bucket/prefix`; not set: the output directory."""

    s3_endpoint: Annotated[
        str | None,
        BeforeValidator(parse_endpoint),
        Variable(aliases=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), read_by="wiring: artifacts"),
    ] = None
    """Address of the object store, such as `https://s3.example:9000`; not set: Amazon's own of the region."""

    s3_region: Annotated[
        str, Field(min_length=1), Variable(aliases=("AWS_REGION", "AWS_DEFAULT_REGION"), read_by="wiring: artifacts")
    ] = "us-east-1"
    """Region of the bucket; stores other than Amazon's mostly take any."""

    s3_access_key_id: Annotated[
        SecretStr | None,
        BeforeValidator(strip_blanks),
        Variable(aliases=("AWS_ACCESS_KEY_ID",), read_by="wiring: artifacts"),
    ] = None
    """Who the server is to the object store; not set: what the machine gives, such as a role of its instance or pod."""

    s3_secret_access_key: Annotated[
        SecretStr | None,
        BeforeValidator(strip_blanks),
        Variable(aliases=("AWS_SECRET_ACCESS_KEY",), read_by="wiring: artifacts"),
    ] = None
    """The secret that goes with the access key."""

    s3_session_token: Annotated[
        SecretStr | None,
        BeforeValidator(strip_blanks),
        Variable(aliases=("AWS_SESSION_TOKEN",), read_by="wiring: artifacts"),
    ] = None
    """The token that goes with an access key that was given for a while."""

    s3_ca_file: Annotated[Path | None, Variable(aliases=("AWS_CA_BUNDLE",), read_by="wiring: artifacts")] = None
    """PEM file with the authority that signed the object store's certificate; not set: those that the system trusts."""

    s3_path_style: Annotated[bool | None, Variable(read_by="wiring: artifacts")] = None
    """Whether the bucket stands in the path of addresses, not in the host name; not set: if there is an endpoint."""

    picture_redirects: Annotated[bool, Variable(read_by="wiring: artifacts")] = False
    """Whether clients that fetch a picture are sent to the object store, by an address signed for ten minutes."""

    s3_public_endpoint: Annotated[
        str | None, BeforeValidator(parse_endpoint), Variable(read_by="wiring: artifacts")
    ] = None
    """Address at which clients reach the object store, for `DANQING_PICTURE_REDIRECTS`; not set: the endpoint."""
