"""The Celery app as Celery's own programs want it: `celery -A danqing.celery_app inspect active`, or `... flower`.

Reads the settings when `app` is looked up. Nodes are started by `danqing worker`, which has an app of its own.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

    app: Celery


def __getattr__(name: str) -> "Celery":
    """`app`, made at the first look. Raises InvalidSettings."""
    if name != "app":
        raise AttributeError(name)
    from danqing.config import load_settings
    from danqing.wiring import looking_celery_app

    made = looking_celery_app(load_settings())
    globals()["app"] = made
    return made
