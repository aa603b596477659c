"""Bare Celery, for `scaled_overhead.py` and `capacity.py`: tasks that do nothing. CELERY_NOOP_BROKER names the broker.

`celery -A celery_noop:celery worker`, and `uvicorn celery_noop:app` for a service that answers when its task has ended.
"""

import os
import time
from pathlib import Path

from celery import Celery
from fastapi import FastAPI

URL = os.environ["CELERY_NOOP_BROKER"]

celery = Celery("noop", broker=URL, backend=URL)
celery.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_send_sent_event=False,
    broker_connection_retry_on_startup=True,
)
app = FastAPI()


@celery.task(name="noop", ignore_result=True)
def noop(job_id: str) -> None:
    """Takes an id, as Danqing's does."""


@celery.task(name="answered")
def answered(job_id: str) -> str:
    """Its result goes through the backend."""
    return job_id


@celery.task(name="held", ignore_result=True)
def held(gate: str) -> None:
    """Waits until that file is there."""
    while not Path(gate).exists():
        time.sleep(0.002)


@celery.task(name="slept", ignore_result=True)
def slept(seconds: float) -> None:
    """Work of a device."""
    time.sleep(seconds)


@app.post("/answered")
def answer() -> dict[str, str]:
    """Blocks on the result, so FastAPI runs it in a thread."""
    return {"made": answered.delay("a job").get(timeout=30)}
