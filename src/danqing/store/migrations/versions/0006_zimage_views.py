"""Views with zimage's names, for those who read its tables: `image_generation_batches`, `image_generation_tasks`.

A migration that changes a column which they read must drop them first, and make them again.
"""

import structlog
from alembic import op
from sqlalchemy import Connection

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

log = structlog.get_logger(__name__)

BATCHES, TASKS = "image_generation_batches", "image_generation_tasks"

# Code and hint by the code of a job's failure; every other one is the last.
FAILURES = {
    "out_of_memory": ("OUT_OF_MEMORY", "Choose a smaller width and height."),
    "too_large_for_device": ("TOO_LARGE_FOR_DEVICE", "Choose a smaller width and height."),
    "job_timeout": ("TIMEOUT", "Choose fewer num_inference_steps or a smaller width and height."),
    "model_load_failure": (
        "MODEL_LOAD_FAILED",
        "Ask the operator to check the model's files; trying again does not help before.",
    ),
    "lora_failure": (
        "LORA_FAILED",
        "Ask the operator to check the LoRA's file; trying again does not help before.",
    ),
    "model_not_served": (
        "MODEL_NOT_SERVED",
        "Submit the request again; it will be made with the model that is served now.",
    ),
    "engine_failure": ("GENERATION_FAILED", "Try again, with another size or seed if it happens again."),
    "worker_lost": ("WORKER_LOST", "Try again later, with a smaller width and height if it happens again."),
    "worker_replaced": ("WORKER_REPLACED", "Submit the request again."),
    "server_restarted": ("SERVER_RESTARTED", "Submit the request again."),
    "storage_failure": (
        "STORAGE_FAILED",
        "Ask the operator whether the server's disk is full, then submit the request again.",
    ),
    "storage_away": ("STORAGE_AWAY", "Submit the request again in a moment."),
}
OTHER = ("INTERNAL_ERROR", "Try again. If it happens again, ask the operator to look into the server's log.")
CANCELLED = ("CANCELLED", "Submit the request again if you still want the image.")

# What a request's JSON says of NULs cannot be told as text; and one that is damaged must not spoil the others.
_REQUEST = r"""
    CASE WHEN strpos(jobs.request, '\u0000') > 0
        THEN regexp_replace(jobs.request, '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g') ELSE jobs.request END
"""
_TASKS = f"""
    CREATE VIEW {TASKS} AS
    SELECT
        replace(jobs.id, '-', '') AS task_id,
        jobs.batch_id,
        jobs.batch_index,
        CASE jobs.state WHEN 'pending' THEN 'pending' WHEN 'completed' THEN 'success' WHEN 'failed' THEN 'error'
            WHEN 'cancelled' THEN 'cancelled' ELSE 'running' END AS status,
        jobs.prompt,
        CAST(asked.request ->> 'height' AS integer) AS height,
        CAST(asked.request ->> 'width' AS integer) AS width,
        CAST(asked.request ->> 'num_inference_steps' AS integer) AS num_inference_steps,
        CAST(asked.request ->> 'guidance_scale' AS double precision) AS guidance_scale,
        CAST(asked.request ->> 'seed' AS bigint) AS seed,
        asked.request ->> 'negative_prompt' AS negative_prompt,
        CAST(asked.request ->> 'cfg_normalization' AS double precision) AS cfg_normalization,
        CAST(asked.request ->> 'cfg_truncation' AS double precision) AS cfg_truncation,
        CAST(asked.request ->> 'max_sequence_length' AS integer) AS max_sequence_length,
        NULLIF(jobs.owner, 'local') AS auth_key,
        CASE WHEN jobs.state = 'completed' AND EXISTS (
            SELECT FROM artifacts WHERE artifacts.job_id = jobs.id AND artifacts.kind = 'original'
        ) THEN placed.stem || '.png' END AS relative_path,
        CASE WHEN jobs.state = 'completed' AND EXISTS (
            SELECT FROM artifacts WHERE artifacts.job_id = jobs.id AND artifacts.kind = 'preview'
        ) THEN placed.stem || '.webp' END AS preview_relative_path,
        jobs.created_at,
        jobs.started_at,
        jobs.finished_at,
        {{codes}} AS error_code,
        {{hints}} AS error_hint,
        jobs.id AS job_id
    FROM jobs
    CROSS JOIN LATERAL (SELECT {{request}} AS request) AS asked
    CROSS JOIN LATERAL (
        SELECT to_char(jobs.created_at AT TIME ZONE 'UTC', 'YYYYMMDD/HH24MISS') || '_' || replace(jobs.id, '-', '')
        AS stem
    ) AS placed
"""
_BATCHES = f"""
    CREATE VIEW {BATCHES} AS
    SELECT
        batches.id AS batch_id,
        CASE
            WHEN shown.pending = shown.jobs THEN 'pending'
            WHEN shown.unfinished > 0 THEN 'running'
            WHEN shown.jobs < batches.size AND shown.newest > clock_timestamp() - interval '10 minutes' THEN 'running'
            WHEN shown.completed >= batches.size THEN 'success'
            WHEN shown.completed > 0 THEN 'partial'
            WHEN shown.cancelled = shown.jobs THEN 'cancelled'
            ELSE 'error'
        END AS status,
        batches.size AS batch_size,
        shown.completed AS success_count,
        shown.failed + shown.cancelled AS failed_count,
        first.seed AS base_seed,
        first.prompt,
        first.height,
        first.width,
        first.num_inference_steps,
        first.guidance_scale,
        first.negative_prompt,
        first.cfg_normalization,
        first.cfg_truncation,
        first.max_sequence_length,
        NULLIF(batches.owner, 'local') AS auth_key,
        batches.created_at,
        CASE WHEN shown.unfinished = 0 THEN shown.finished_at END AS finished_at
    FROM batches
    CROSS JOIN LATERAL (
        SELECT
            count(*) AS jobs,
            count(*) FILTER (WHERE state = 'pending') AS pending,
            count(*) FILTER (WHERE state IN ('pending', 'processing', 'generated')) AS unfinished,
            count(*) FILTER (WHERE state = 'completed') AS completed,
            count(*) FILTER (WHERE state = 'failed') AS failed,
            count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
            max(created_at) AS newest,
            max(finished_at) AS finished_at,
            (array_agg(id ORDER BY batch_index, sequence))[1] AS first_id
        FROM jobs
        WHERE jobs.batch_id = batches.id AND jobs.owner = batches.owner AND jobs.sequence >= batches.sequence
    ) AS shown
    JOIN {TASKS} AS first ON first.job_id = shown.first_id
"""


def upgrade() -> None:
    """A database that has tables of these names already keeps them: they are zimage's own. SQLite has no views."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    for name in (TASKS, BATCHES):
        if connection.exec_driver_sql("SELECT to_regclass(%s) IS NOT NULL", (name,)).scalar_one():
            log.warning("view_not_made", name=name, reason="there is a table of that name")
            return
    for statement in (tasks(connection), _BATCHES):
        connection.exec_driver_sql(statement.replace("%", "%%"))


def tasks(connection: Connection) -> str:
    """The statement that makes the view of tasks; its last clause is FROM."""
    request = f"CAST({_REQUEST} AS json)"
    if connection.dialect.server_version_info >= (16,):  # type: ignore[operator]
        request = f"CASE WHEN jobs.request IS JSON OBJECT THEN {request} END"
    return _TASKS.format(request=request, codes=_by_failure(0), hints=_by_failure(1))


def _by_failure(index: int) -> str:
    cases = " ".join(f"WHEN {_quoted(code)} THEN {_quoted(said[index])}" for code, said in FAILURES.items())
    return (
        f"CASE WHEN jobs.state = 'cancelled' THEN {_quoted(CANCELLED[index])} WHEN jobs.state = 'failed' THEN"
        f" CASE jobs.failure_code {cases} ELSE {_quoted(OTHER[index])} END END"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
