"""A plain FastAPI + Celery + Redis image service, as zimage's document describes one: what `submits.py` compares with.

`uvicorn celery_service:app` and `celery -A celery_service worker`; CELERY_SERVICE_REDIS names the Redis. The answer is
what that service gives: the id of the Celery task, once Redis has the message.
"""

import os
import time

from celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel

URL = os.environ["CELERY_SERVICE_REDIS"]

celery = Celery("images", broker=URL, backend=URL)
celery.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)
app = FastAPI()


class GenerateImageRequest(BaseModel):
    """The document's request."""

    prompt: str
    height: int = 1024
    width: int = 1024
    num_inference_steps: int = 9
    guidance_scale: float = 0.0
    seed: int | None = None
    negative_prompt: str = ""


class GenerateImageResponse(BaseModel):
    """The document's answer."""

    task_id: str
    status_url: str
    image_url: str | None = None


@celery.task(name="generate_image")
def generate_image(request: dict[str, object]) -> None:
    """Keeps its worker for as long as anybody measures, as `fake_server.py` does."""
    time.sleep(3600)


@app.post("/v1/images/generate")
def generate(request: GenerateImageRequest) -> GenerateImageResponse:
    """Blocks on Redis, so FastAPI runs it in a thread: as its documentation has it."""
    return submit(request)


@app.post("/v1/images/generate-in-the-loop")
async def generate_in_the_loop(request: GenerateImageRequest) -> GenerateImageResponse:
    """Blocks everybody while Redis answers: a common mistake, and cheaper by the thread."""
    return submit(request)


def submit(request: GenerateImageRequest) -> GenerateImageResponse:
    """Returns once Redis has the message."""
    task = generate_image.apply_async(args=[request.model_dump()])
    return GenerateImageResponse(task_id=task.id, status_url=f"/v1/tasks/{task.id}")
