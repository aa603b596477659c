"""What `danqing doctor` finds of database, Redis, broker and nodes: against real ones."""

import asyncio
import dataclasses
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from danqing.cli import shared_checks
from danqing.cli.checks import all_findings
from danqing.cli.findings import Finding, Verdict
from danqing.cli.main import build_app
from danqing.cli.shared_checks import check_shared_parts
from danqing.config import Settings
from danqing.core.shared_store import Node
from danqing.core.types import JobFailure, WorkerState, WorkerStatus
from danqing.store.migration import SchemaState
from danqing.store.postgres import PostgresStores
from danqing.wiring import part_states
from tests.fakes.domain import NO_LIMIT, a_job, a_request
from tests.services.postgres import running_postgres
from tests.services.rabbitmq import rabbitmq_url
from tests.services.redis import RedisServer, this_process_redis
from tests.services.s3 import BUCKET, KEY, SECRET, s3_server

PASSWORD = "open-sesame"


@pytest.fixture
def database() -> Iterator[str]:
    url = running_postgres().new_database()
    yield url
    running_postgres().drop_database(url)


@pytest.fixture
def nobodys_port() -> Iterator[int]:
    with socket.socket() as taken:  # and nobody listens on it
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def found(**values: object) -> dict[str, Finding]:
    """By their subjects."""
    return {one.subject: one for one in check_shared_parts(Settings.model_validate(values))}


def verdicts(findings: dict[str, Finding]) -> dict[str, str]:
    return {subject: finding.verdict.value for subject, finding in findings.items()}


def live(database: str, *nodes: Node) -> None:
    """Has them beat once."""

    async def beat() -> None:
        stores = await asyncio.to_thread(PostgresStores.open, database)
        for node in nodes:
            await stores.nodes.beat(node, lease_s=60)
        await stores.close()

    asyncio.run(beat())


def a_node(name: str, *states: WorkerState, draining: bool = False) -> Node:
    failure = JobFailure(code="model_load_failure", message="The model cannot be loaded.")
    workers = tuple(
        WorkerStatus(
            id=f"{name}-1/cuda:{number}", state=state, pid=1, restarts=0, models=("tiny",),
            failure=failure if state is WorkerState.BROKEN else None,
        )
        for number, state in enumerate(states)
    )  # fmt: skip
    return Node(id=f"{name}-1", name=name, started_at=datetime.now(UTC), workers=workers, draining=draining)


def test_one_machine_needs_none_of_it() -> None:
    assert found() == {}


def test_half_of_what_is_needed_is_a_problem_that_says_what_is_missing() -> None:
    findings = found(redis_url="redis://127.0.0.1:1/0")
    assert verdicts(findings) == {"set-up": "problem"}
    assert "DATABASE_URL" in findings["set-up"].text


def test_all_is_there(database: str) -> None:
    # Given a database with tables, a Redis, and a node that lives
    live(database, a_node("gpu-1", WorkerState.READY, WorkerState.BUSY))
    # When they are looked at
    findings = found(database_url=database, redis_url=this_process_redis().url, output_dir="/pictures")
    # Then each has a line, and nothing is the matter
    assert set(verdicts(findings).values()) == {"ok"}
    assert list(findings) == ["set-up", "PostgreSQL", "schema", "nodes", "Redis", "pictures"]
    assert findings["nodes"].text == "gpu-1: cuda:0 ready, cuda:1 busy\n0 job(s) wait"
    assert findings["schema"].text == "this version's"


def test_a_database_alone_has_no_nodes(database: str) -> None:
    assert verdicts(found(database_url=database)) == {"set-up": "ok", "PostgreSQL": "ok", "schema": "ok"}


def test_an_empty_database_stays_empty() -> None:
    # Given a database without tables
    url = running_postgres().new_database(migrated=False)
    # When it is looked at
    findings = found(database_url=url)
    # Then that is fine, and nothing was made in it
    assert findings["schema"].verdict is Verdict.OK
    assert "makes the tables" in findings["schema"].text
    with psycopg.connect(url) as connection:
        counted = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert counted == (0,)


@pytest.mark.parametrize(
    ("oldest", "verdict", "words"),
    [("0005", "warning", "runs on it"), ("0999", "problem", "the newer version")],
)
def test_a_newer_schema(database: str, oldest: str, verdict: str, words: str) -> None:
    # Given a database that a version to come has migrated, and that says whose code may still use it
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE danqing_alembic_version SET version_num = '0999'")
        connection.execute("UPDATE code_compatibility SET oldest_revision = %s", [oldest])
    # Then that decides
    finding = found(database_url=database)["schema"]
    assert (finding.verdict, words in finding.text) == (verdict, True)


def test_an_older_schema_is_fine_and_stays_as_it_is(database: str) -> None:
    # Given a database that a version before has made
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE danqing_alembic_version SET version_num = '0004'")
    # When it is looked at
    finding = found(database_url=database)["schema"]
    # Then its operator is told what a start will do, and nothing has been done
    assert finding.verdict is Verdict.OK
    assert "make a backup before" in finding.text
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT version_num FROM danqing_alembic_version").fetchone() == ("0004",)


def test_no_node_is_a_warning_that_says_what_to_start(database: str) -> None:
    finding = found(database_url=database, redis_url=this_process_redis().url)["nodes"]
    assert finding.verdict is Verdict.WARNING
    assert "danqing worker" in finding.text


def test_nodes_that_can_make_nothing_are_a_warning(database: str) -> None:
    # Given one that is about to end, and one whose model cannot be loaded
    live(database, a_node("a", WorkerState.READY, draining=True), a_node("b", WorkerState.BROKEN))
    # Then both are named, with the reason
    finding = found(database_url=database, redis_url=this_process_redis().url)["nodes"]
    assert finding.verdict is Verdict.WARNING
    assert "a: cuda:0 ready; draining" in finding.text
    assert "b: cuda:0 broken (The model cannot be loaded.)" in finding.text


def test_jobs_of_models_that_no_node_has_are_a_warning(database: str) -> None:
    # Given a node, and jobs that wait: of its model, and of one that is not made any more
    live(database, a_node("a", WorkerState.READY))

    async def submit(*models: str) -> None:
        stores = await asyncio.to_thread(PostgresStores.open, database)
        for model in models:
            await stores.jobs.add(a_job(request=a_request(model=model)), NO_LIMIT)
        await stores.close()

    asyncio.run(submit("tiny"))
    assert "waiting" not in found(database_url=database, redis_url=this_process_redis().url)
    asyncio.run(submit("gone", "gone"))
    # Then it is told which and how many
    findings = found(database_url=database, redis_url=this_process_redis().url)
    assert findings["waiting"].verdict is Verdict.WARNING
    assert findings["waiting"].text.startswith("2 of gone: ")
    assert "3 job(s) wait" in findings["nodes"].text


def test_what_does_not_answer_is_named_and_no_password_is(nobodys_port: int) -> None:
    # Given addresses with passwords, at which nobody listens
    gone = f"127.0.0.1:{nobodys_port}"
    findings = found(
        database_url=f"postgresql://danqing:{PASSWORD}@{gone}/pictures",
        redis_url=f"redis://:{PASSWORD}@{gone}/3",
        broker_url=f"amqp://danqing:{PASSWORD}@{gone}/mq",
    )
    # Then each is told with its place, and which setting to look at
    away = {subject for subject, verdict in verdicts(findings).items() if verdict == "problem"}
    assert away == {"PostgreSQL", "Redis", "broker"}
    for subject, place, variable in (
        ("PostgreSQL", f"{gone}/pictures", "DATABASE_URL"),
        ("Redis", f"{gone}/3", "REDIS_URL"),
        ("broker", f"{gone}/mq", "CELERY_BROKER_URL"),
    ):
        assert f"{place}: nobody listens there" in findings[subject].text
        assert variable in findings[subject].text
    assert PASSWORD not in str(findings)


def test_a_database_that_does_not_answer_is_not_waited_for_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a server that takes connections and says nothing
    monkeypatch.setattr(part_states, "WAIT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"postgresql://danqing@127.0.0.1:{mute.getsockname()[1]}/x"
        # Then that is what is said
        assert "no answer" in found(database_url=url)["PostgreSQL"].text


def test_a_database_that_is_not_there() -> None:
    finding = found(database_url=running_postgres().url("nothing"))["PostgreSQL"]
    assert finding.verdict is Verdict.FAILURE
    assert "no such database" in finding.text


@pytest.mark.parametrize("url", ["mysql://a:open-sesame@b/c", "open-sesame", "postgresql://a:open-sesame@b:port/c"])
def test_an_address_of_something_else(url: str) -> None:
    finding = found(database_url=url)["PostgreSQL"]
    assert finding.verdict is Verdict.FAILURE
    assert "write it like postgresql://" in finding.text
    assert PASSWORD not in finding.text


@pytest.mark.parametrize("given", ["", "wrong@"])
def test_a_redis_that_wants_another_password(given: str, database: str) -> None:
    # Given a Redis with a password, and an address without it
    redis = RedisServer(password=PASSWORD)
    redis.start()
    try:
        asked = f"redis://{f':{given}' if given else ''}127.0.0.1:{redis.port}/0"
        # When it is looked at, with the address and with the right one
        wrong, right = (found(database_url=database, redis_url=url)["Redis"] for url in (asked, redis.url))
    finally:
        redis.kill()
    # Then the first says so, and nothing shows the other
    assert (wrong.verdict, right.verdict) == (Verdict.FAILURE, Verdict.OK)
    assert "password" in wrong.text
    assert PASSWORD not in wrong.text + right.text


def test_a_redis_that_throws_keys_away(database: str) -> None:
    # Given one with little memory that evicts when it is full
    redis = RedisServer()
    redis.start()
    try:
        redis.run("CONFIG", "SET", "maxmemory", "100mb")
        redis.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        finding = found(database_url=database, redis_url=redis.url)["Redis"]
    finally:
        redis.kill()
    # Then its operator is told which setting it should have
    assert finding.verdict is Verdict.WARNING
    assert "noeviction" in finding.text


def test_another_broker(database: str) -> None:
    # Given a RabbitMQ beside Redis
    url = rabbitmq_url()
    right, wrong = (
        found(database_url=database, redis_url=this_process_redis().url, broker_url=broker)["broker"]
        for broker in (url, url.replace("guest:guest@", f"guest:{PASSWORD}@"))
    )
    assert (right.verdict, wrong.verdict) == (Verdict.OK, Verdict.FAILURE)
    assert right.text.startswith("RabbitMQ ")
    assert "wrong password" in wrong.text
    assert PASSWORD not in wrong.text


def test_a_rabbitmq_that_may_take_messages_away_too_early_is_a_warning(database: str) -> None:
    # Given pictures that may take longer than RabbitMQ lets a message be kept
    values = {"database_url": database, "redis_url": this_process_redis().url, "broker_url": rabbitmq_url()}
    finding = found(**values, task_timeout_s=500, batch_pictures=4)["broker"]
    # Then doctor names what to set
    assert finding.verdict is Verdict.WARNING
    assert "pictures may take 2000 s" in finding.text
    assert "consumer_timeout" in finding.text


def test_pictures_in_a_folder_of_the_process_are_a_warning(database: str) -> None:
    finding = found(database_url=database, redis_url=this_process_redis().url)["pictures"]
    assert finding.verdict is Verdict.WARNING
    assert "DANQING_OBJECT_STORE" in finding.text


@pytest.mark.parametrize(("public", "warned"), [(None, True), ("https://pictures.example", False)])
def test_redirects_to_an_endpoint_that_clients_may_not_know_are_a_warning(
    tmp_path: Path, nobodys_port: int, public: str | None, warned: bool
) -> None:
    # Given an object store at an address of its own, and clients that are sent there
    endpoint = f"http://127.0.0.1:{nobodys_port}"
    values = {"data_dir": tmp_path, "object_store": f"s3://{BUCKET}/doctor", "s3_endpoint": endpoint}
    findings = found(**values, picture_redirects=True, s3_public_endpoint=public)
    # Then the address that they would see is told, unless another one was named
    assert ("picture-redirects" in findings) is warned
    if warned:
        assert findings["picture-redirects"].verdict is Verdict.WARNING
        assert endpoint in findings["picture-redirects"].text


def test_pictures_in_an_object_store(tmp_path: Path) -> None:
    # Given a store that is there, and the same without its bucket, and with another secret
    with s3_server() as server:
        values = {"data_dir": tmp_path, "object_store": f"s3://{BUCKET}/doctor", "s3_endpoint": server.endpoint}
        keys = {"s3_access_key_id": KEY, "s3_secret_access_key": SECRET}
        right, nowhere, stranger = (
            found(**(values | keys | change))["pictures"]
            for change in ({}, {"object_store": "s3://nothing/doctor"}, {"s3_secret_access_key": PASSWORD})
        )
    # Then only the first can be used, and the others say what to look at
    assert (right.verdict, right.text) == (Verdict.OK, f"s3://{BUCKET}/doctor")
    assert (nowhere.verdict, stranger.verdict) == (Verdict.FAILURE, Verdict.FAILURE)
    assert "bucket" in nowhere.text
    assert PASSWORD not in stranger.text


@pytest.mark.parametrize(
    ("change", "subject", "verdict", "words"),
    [
        ({"number": 130012}, "PostgreSQL", "problem", "14 or newer"),
        ({"encoding": "SQL_ASCII"}, "PostgreSQL", "problem", "ENCODING 'UTF8'"),
        ({"read_only": True}, "PostgreSQL", "problem", "only reads"),
        ({"used": 90, "most": 100}, "PostgreSQL", "warning", "max_connections"),
        ({"schema": SchemaState.OLDER}, "schema", "ok", "brings it up to date"),
        ({"clock_ahead_s": 61.0}, "clock", "warning", "61 s ahead of the database's"),
        ({"clock_ahead_s": -7.0}, "clock", "warning", "7 s behind the database's"),
    ],
)
def test_what_may_be_wrong_with_a_database(
    database: str, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], subject: str, verdict: str, words: str
) -> None:
    # Given a real database's state with one thing changed
    real = part_states.database_state

    def changed(url: object) -> part_states.DatabaseState:
        return dataclasses.replace(real(url), **change)  # type: ignore[arg-type]

    monkeypatch.setattr(shared_checks, "database_state", changed)
    # Then it is told, with what to do
    finding = found(database_url=database)[subject]
    assert (finding.verdict, words in finding.text) == (verdict, True), finding.text


def test_clocks_of_one_machine_are_not_apart(database: str) -> None:
    assert abs(part_states.database_state(SecretStr(database)).clock_ahead_s) < 1


def test_the_report_has_them_instead_of_sqlite(database: str, tmp_path: Path) -> None:
    settings = Settings.model_validate({"database_url": database, "data_dir": tmp_path, "port": 0})
    subjects = [finding.subject for finding in all_findings(settings)]
    assert {"set-up", "PostgreSQL", "schema"} <= set(subjects)
    assert "SQLite" not in subjects


def test_the_command_ends_with_an_error_for_a_part_that_is_away(
    nobodys_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server that is down, as its database is
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://danqing:{PASSWORD}@127.0.0.1:{nobodys_port}/x")
    # When the doctor is called
    told = CliRunner().invoke(build_app(), ["doctor", "--port", "0"])
    # Then it says so, and scripts can tell
    assert told.exit_code == 1
    assert "1 problem(s)" in told.output
    assert PASSWORD not in told.output


def test_a_model_that_is_not_here_is_a_problem_of_workers_only(database: str, tmp_path: Path) -> None:
    # Given an API process of a large model, on a machine without it
    shared = {"database_url": database, "redis_url": this_process_redis().url}
    values = {"model": "flux1-dev", "data_dir": tmp_path, "port": 0, "cuda_available": False}
    alone, api = (
        next(one for one in all_findings(Settings.model_validate(values | more)) if one.subject == "models")
        for more in ({}, shared)
    )
    assert (alone.verdict, api.verdict) == (Verdict.FAILURE, Verdict.WARNING)
    assert "danqing worker" in api.text
