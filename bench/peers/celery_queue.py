"""A FastAPI + Celery + Redis image service, as seed 003 describes one, without its database, which only favours it.

`uvicorn peers.celery_queue:app` and `celery -A peers.celery_queue:celery worker`; PEER_REDIS names the Redis,
PEER_FOLDER where pictures lie.
"""

import os
from pathlib import Path
from typing import Any

from celery import Celery, Task
from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from peers import device

URL = os.environ["PEER_REDIS"]
FOLDER = Path(os.environ.get("PEER_FOLDER", "."))
WAIT_S = 60

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


@celery.task(name="generate_image", bind=True)
def generate_image(self: "Task[Any, Any]", request: dict[str, Any]) -> dict[str, str]:
    """The picture's place."""

    def on_step(step: int, total: int) -> None:
        self.update_state(state="PROGRESS", meta={"progress": 100 * step // total})

    picture = device.make(request["seed"] or 0, on_step)
    name = f"{self.request.id}.png"
    picture.save(FOLDER / name)
    return {"relative_path": name}


@app.post("/v1/images/generate")
def generate(request: GenerateImageRequest) -> GenerateImageResponse:
    """Blocks on Redis, so FastAPI runs it in a thread: as its documentation has it."""
    return submit(request)


@app.post("/v1/images/generate-in-the-loop")
async def generate_in_the_loop(request: GenerateImageRequest) -> GenerateImageResponse:
    """Blocks everybody while Redis answers: a common mistake, and cheaper by the thread."""
    return submit(request)


@app.post("/v1/images/generate-and-wait")
def generate_and_wait(request: GenerateImageRequest) -> Response:
    """Not in the seed: for loads that wait for the picture in one request. Blocks on the result, in a thread."""
    made = generate_image.apply_async(args=[request.model_dump()]).get(timeout=WAIT_S)
    return FileResponse(FOLDER / made["relative_path"], media_type="image/png")


@app.get("/v1/tasks/{task_id}")
def task(task_id: str) -> dict[str, Any]:
    """As Redis has it."""
    found = celery.AsyncResult(task_id)
    return {"task_id": task_id, "status": found.state, "result": found.info if found.state == "SUCCESS" else None}


def submit(request: GenerateImageRequest) -> GenerateImageResponse:
    """Returns once Redis has the message."""
    task = generate_image.apply_async(args=[request.model_dump()])
    return GenerateImageResponse(task_id=task.id, status_url=f"/v1/tasks/{task.id}")


app.mount("/generated-images", StaticFiles(directory=FOLDER), name="pictures")
