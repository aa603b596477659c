"""The view `image_generation_tasks` tells of the jobs that the history shows: with a batch its tasks go."""

from importlib import import_module

import structlog
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

log = structlog.get_logger(__name__)

zimage_views = import_module("danqing.store.migrations.versions.0006_zimage_views")
# As `batch_rows.IS_SHOWN` has it.
IS_SHOWN = """
    WHERE EXISTS (
        SELECT FROM batches
        WHERE batches.id = jobs.batch_id AND batches.owner = jobs.owner AND batches.sequence <= jobs.sequence
    )
"""
COLUMNS = (
    *("task_id", "batch_id", "batch_index", "status", "prompt", "height", "width", "num_inference_steps"),
    *("guidance_scale", "seed", "negative_prompt", "cfg_normalization", "cfg_truncation", "max_sequence_length"),
    *("auth_key", "relative_path", "preview_relative_path", "created_at", "started_at", "finished_at"),
    *("error_code", "error_hint", "job_id"),
)
COLUMNS_THERE = """
    SELECT attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relname = %s AND relnamespace = current_schema()::regnamespace AND relkind = 'v' AND attnum > 0
    ORDER BY attnum
"""


def upgrade() -> None:
    """The view is replaced, so that what was granted on it stays, and other views that read it. What has its name and
    is not the view of 0006 stays as it is. Older code does not notice.
    """
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    there = connection.exec_driver_sql(COLUMNS_THERE, (zimage_views.TASKS,)).scalars()
    if tuple(there) != COLUMNS:
        log.warning("view_not_replaced", name=zimage_views.TASKS, reason="it is not the one that was made before")
        return
    statement = zimage_views.tasks(connection).replace("CREATE VIEW", "CREATE OR REPLACE VIEW") + IS_SHOWN
    connection.exec_driver_sql(statement.replace("%", "%%"))
