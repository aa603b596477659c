"""What `danqing doctor` finds of the parts that several processes share: database, Redis, broker, nodes, pictures."""

from urllib.parse import urlsplit

from pydantic import SecretStr

from danqing.cli.findings import Finding, Verdict
from danqing.config import InvalidSettings, Settings
from danqing.core.errors import StorageFailure
from danqing.core.shared_store import Node
from danqing.core.types import WorkerState, WorkerStatus
from danqing.wiring.addresses import shared_addresses
from danqing.wiring.part_states import (
    DatabaseState,
    PartAway,
    SchemaState,
    broker_version,
    database_state,
    redis_state,
)
from danqing.wiring.pictures import check_object_store

OLDEST_POSTGRES = 14
OLDEST_REDIS = 6
CLOCKS_APART_S = 5.0
RABBITMQ_PATIENCE_S = 1800.0  # its consumer_timeout, unless it is told another one
FEW_CONNECTIONS = 20
_ABLE = (WorkerState.READY, WorkerState.BUSY)


def check_shared_parts(settings: Settings) -> list[Finding]:
    """Nothing where one process does everything. Blocking; some seconds for each part that does not answer."""
    if settings.database_url is None and settings.redis_url is None and settings.broker_url is None:
        return _check_object_store(settings)
    try:
        shared = shared_addresses(settings)
    except InvalidSettings as exc:
        return [_finding(Verdict.FAILURE, "set-up", str(exc))]
    if shared is None and settings.database_url is not None:
        text = "one server over PostgreSQL; with REDIS_URL several, and `danqing worker` makes the pictures"
        database = _check_database(settings.database_url, nodes=False)
        return [_finding(Verdict.OK, "set-up", text), *database, *_check_object_store(settings)]
    assert shared is not None
    broker = shared.broker.get_secret_value()
    other_broker = broker != shared.redis.get_secret_value()
    carried = urlsplit(broker).scheme.partition("+")[0]
    text = f"several processes over one store; jobs go over {carried}, and `danqing worker` makes the pictures"
    return [
        _finding(Verdict.OK, "set-up", text),
        *_check_database(shared.database, nodes=True),
        _check_redis("Redis", "REDIS_URL", shared.redis),
        *([_check_broker(carried, shared.broker, settings)] if other_broker else []),
        *(_check_object_store(settings) or [_shared_folder(settings)]),
    ]


def _check_database(url: SecretStr, *, nodes: bool) -> list[Finding]:
    """nodes: whether there should be some."""
    try:
        state = database_state(url)
    except PartAway as exc:
        text = f"{exc}. See that PostgreSQL runs, and that DATABASE_URL is right"
        return [_finding(Verdict.FAILURE, "PostgreSQL", text)]
    found = [_database(state), _schema(state)]
    if abs(state.clock_ahead_s) > CLOCKS_APART_S:
        which = "ahead of" if state.clock_ahead_s > 0 else "behind"
        text = f"this machine's is {abs(state.clock_ahead_s):.0f} s {which} the database's; have both set by NTP"
        found.append(_finding(Verdict.WARNING, "clock", text))
    return [*found, _nodes(state), *_unmade(state)] if nodes else found


def _database(state: DatabaseState) -> Finding:
    text = f"{state.version} on {state.place}, {state.used} of {state.most} connections used"
    if state.number < OLDEST_POSTGRES * 10_000:
        return _finding(Verdict.FAILURE, "PostgreSQL", f"{text}; it has to be {OLDEST_POSTGRES} or newer")
    if state.encoding != "UTF8":
        advice = "create a database with ENCODING 'UTF8'"
        return _finding(Verdict.FAILURE, "PostgreSQL", f"{text}; it is in {state.encoding}: {advice}")
    if state.read_only:
        advice = "it only reads, as a standby does; name the one that writes"
        return _finding(Verdict.FAILURE, "PostgreSQL", f"{text}; {advice}")
    if state.most - state.used < FEW_CONNECTIONS:
        advice = "each process needs up to 14; raise max_connections, or put PgBouncer before it"
        return _finding(Verdict.WARNING, "PostgreSQL", f"{text}; {advice}")
    return _finding(Verdict.OK, "PostgreSQL", text)


def _schema(state: DatabaseState) -> Finding:
    match state.schema:
        case SchemaState.NONE:
            return _finding(Verdict.OK, "schema", "none yet; the first server that starts makes the tables")
        case SchemaState.CURRENT:
            return _finding(Verdict.OK, "schema", "this version's")
        case SchemaState.OLDER:
            text = "older; the first server of this version that starts brings it up to date (make a backup before)"
            return _finding(Verdict.OK, "schema", text)
        case SchemaState.NEWER:
            return _finding(Verdict.WARNING, "schema", "newer, but this version runs on it; upgrade it soon")
        case SchemaState.TOO_NEW:
            text = "newer than this version can use: install the newer version, or restore an older backup"
            return _finding(Verdict.FAILURE, "schema", text)


def _nodes(state: DatabaseState) -> Finding:
    waiting = f"{sum(state.waiting.values())} job(s) wait"
    if not state.nodes:
        text = f"none lives, {waiting}; start `danqing worker` with these settings on a machine that makes pictures"
        return _finding(Verdict.WARNING, "nodes", text)
    able = any(worker.state in _ABLE for node in state.nodes if not node.draining for worker in node.workers)
    lines = [*map(_node, state.nodes), waiting]
    return _finding(Verdict.OK if able else Verdict.WARNING, "nodes", "\n".join(lines))


def _unmade(state: DatabaseState) -> list[Finding]:
    """Of models that no living node has, where there are nodes."""
    made = {model for node in state.nodes for worker in node.workers for model in worker.models}
    unmade = {model: jobs for model, jobs in state.waiting.items() if model not in made}
    if not unmade or not state.nodes:
        return []
    told = ", ".join(f"{jobs} of {model}" for model, jobs in unmade.items())
    text = f"{told}: no node that lives has the model; start one that has, or cancel them"
    return [_finding(Verdict.WARNING, "waiting", text)]


def _node(node: Node) -> str:
    workers = ", ".join(_worker(node, worker) for worker in node.workers) or "no workers yet"
    return f"{node.name}: {workers}{'; draining' if node.draining else ''}"


def _worker(node: Node, worker: WorkerStatus) -> str:
    why = f" ({worker.failure.message})" if worker.failure else ""
    return f"{worker.id.removeprefix(f'{node.id}/')} {worker.state}{why}"


def _check_redis(subject: str, variable: str, url: SecretStr) -> Finding:
    try:
        state = redis_state(url)
    except PartAway as exc:
        return _finding(Verdict.FAILURE, subject, f"{exc}. See that it runs, and that {variable} is right")
    text = f"{state.version} on {state.place}, {state.used_bytes / 1e6:.0f} MB used"
    if int(state.version.partition(".")[0]) < OLDEST_REDIS:
        return _finding(Verdict.FAILURE, subject, f"{text}; it has to be {OLDEST_REDIS} or newer")
    if state.limit_bytes and state.policy != "noeviction":
        advice = (
            f"when {state.limit_bytes / 1e6:.0f} MB are full it throws messages away; set maxmemory-policy noeviction"
        )
        return _finding(Verdict.WARNING, subject, f"{text}; {advice}")
    return _finding(Verdict.OK, subject, text)


def _check_broker(scheme: str, url: SecretStr, settings: Settings) -> Finding:
    if scheme in ("redis", "rediss"):
        return _check_redis("broker", "CELERY_BROKER_URL", url)
    try:
        version = broker_version(url)
    except PartAway as exc:
        return _finding(Verdict.FAILURE, "broker", f"{exc}. See that it runs, and that CELERY_BROKER_URL is right")
    if (longest_s := settings.task_timeout_s * settings.batch_pictures) > RABBITMQ_PATIENCE_S:
        advice = f"pictures may take {longest_s:.0f} s; see that its consumer_timeout, 1800 s by default, is twice that"
        return _finding(Verdict.WARNING, "broker", f"{version}; {advice}")
    return _finding(Verdict.OK, "broker", version)


def _check_object_store(settings: Settings) -> list[Finding]:
    """Nothing where pictures are in a folder. Writes an object and removes it."""
    if settings.object_store is None:
        return []
    try:
        found = [_finding(Verdict.OK, "pictures", check_object_store(settings))]
    except (InvalidSettings, StorageFailure) as exc:
        found = [_finding(Verdict.FAILURE, "pictures", str(exc))]
    if settings.picture_redirects and settings.s3_endpoint is not None and settings.s3_public_endpoint is None:
        text = f"clients are sent to {settings.s3_endpoint}: set DANQING_S3_PUBLIC_ENDPOINT unless they reach that one"
        found.append(_finding(Verdict.WARNING, "picture-redirects", text))
    return found


def _shared_folder(settings: Settings) -> Finding:
    """`check_data_dir` has tried whether it can be written."""
    text = f"{settings.outputs}; every process has to see this very folder"
    if settings.output_dir is None:
        advice = "set OUTPUT_DIR to a shared one, or DANQING_OBJECT_STORE"
        return _finding(Verdict.WARNING, "pictures", f"{text}: {advice}")
    return _finding(Verdict.OK, "pictures", text)


def _finding(verdict: Verdict, subject: str, text: str) -> Finding:
    return Finding(verdict=verdict, subject=subject, text=text)
