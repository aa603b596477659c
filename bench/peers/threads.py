"""A FastAPI server with one thread for the device and everything in memory, as seeds 000 and 001 describe theirs.

`uvicorn peers.threads:app`. Nothing survives the process, unless PEER_KEEPS is set (`peers/kept.py`); a picture is a
file in PEER_FOLDER. HTTP as in seed 000, WebSocket as in seed 001: equal parameters give the same job, and who created
it is told all that happens to it.
"""

import asyncio
import hashlib
import json
import os
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from queue import Queue
from typing import Any

from fastapi import FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field

from peers import device
from peers.kept import Kept

FOLDER = Path(os.environ.get("PEER_FOLDER", "."))


class GenerateRequest(BaseModel):
    """Seed 000's."""

    prompt: str = Field(min_length=1)
    height: int = Field(1024, ge=64, le=2048)
    width: int = Field(1024, ge=64, le=2048)
    num_inference_steps: int = Field(9, ge=1, le=50)
    seed: int = 42


class Job:
    """What is known of one."""

    def __init__(self, job_id: str, request: GenerateRequest) -> None:
        self.id = job_id
        self.request = request
        self.status = "pending"
        self.done = asyncio.Event()
        self.watchers: set[WebSocket] = set()


jobs: dict[str, Job] = {}
waiting: Queue[Job | None] = Queue()
kept = Kept(FOLDER) if os.environ.get("PEER_KEEPS") else None


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The device's thread runs as long as the server."""
    loop = asyncio.get_running_loop()
    for job_id, request in kept.unfinished() if kept is not None else ():
        jobs[job_id] = Job(job_id, GenerateRequest.model_validate_json(request))
        waiting.put(jobs[job_id])
    thread = threading.Thread(target=work, args=(loop,), daemon=True)
    thread.start()
    yield
    waiting.put(None)


app = FastAPI(lifespan=lifespan)


def work(loop: asyncio.AbstractEventLoop) -> None:
    """Makes what waits, one after the other."""
    while (job := waiting.get()) is not None:
        tell(loop, job, status="processing")

        def on_step(step: int, total: int, job: Job = job) -> None:
            progress = {"stage": "generating", "current_step": step, "total_steps": total, "type": "progress"}
            tell(loop, job, progress=progress)

        picture = device.make(job.request.seed, on_step)
        if kept is not None:
            kept.completed(job.id, picture)
        else:
            picture.save(FOLDER / f"{job.id}.png")
        tell(loop, job, status="completed")


def tell(
    loop: asyncio.AbstractEventLoop, job: Job, *, status: str = "", progress: dict[str, Any] | None = None
) -> None:
    """From the device's thread to all who watch."""
    if status:
        job.status = status
    asyncio.run_coroutine_threadsafe(broadcast(job, status, progress), loop)


async def broadcast(job: Job, status: str, progress: dict[str, Any] | None) -> None:
    """To one after the other."""
    if progress is not None:
        message = {"type": "job_progress", "job_id": job.id, "progress": progress}
    else:
        message = {"type": "job_status", "job_id": job.id, "status": status}
        if status == "completed":
            message["result"] = {"filename": f"{job.id}.png"}
            job.done.set()
    text = json.dumps(message)
    for watcher in list(job.watchers):
        await watcher.send_text(text)


def accept(job_id: str, request: GenerateRequest) -> Job:
    """A new job, or the one that is there already."""
    if job_id not in jobs:
        if kept is not None:
            kept.accepted(job_id, request.model_dump_json())
        jobs[job_id] = Job(job_id, request)
        waiting.put(jobs[job_id])
    return jobs[job_id]


def found(task_id: str) -> Job:
    """Or 404."""
    if task_id not in jobs:
        raise HTTPException(404)
    return jobs[task_id]


@app.post("/api/generate")
async def generate(request: GenerateRequest) -> dict[str, Any]:
    """Answers at once."""
    job = accept(str(uuid.uuid4()), request)
    data = {"task_id": job.id, "status": job.status, "queue_position": waiting.qsize()}
    return {"code": 200, "message": "success", "data": data}


@app.post("/api/generate-and-wait")
async def generate_and_wait(request: GenerateRequest) -> Response:
    """Not in the seeds: for loads that wait for the picture in one request."""
    job = accept(str(uuid.uuid4()), request)
    await job.done.wait()
    return FileResponse(FOLDER / f"{job.id}.png", media_type="image/png")


@app.get("/api/task/{task_id}")
async def task(task_id: str) -> dict[str, Any]:
    """As it is now."""
    job = found(task_id)
    return {"code": 200, "message": "success", "data": {"task_id": job.id, "status": job.status}}


@app.get("/api/result/{task_id}")
async def result(task_id: str) -> Response:
    """The picture."""
    return FileResponse(FOLDER / f"{found(task_id).id}.png", media_type="image/png")


@app.websocket("/api/ws")
async def websocket(socket: WebSocket) -> None:
    """Takes `create_job`."""
    await socket.accept()
    followed: set[str] = set()
    try:
        while True:
            message = await socket.receive_json()
            params = message["params"]
            request = GenerateRequest(prompt=params["prompt"], seed=params["seed"])
            job = accept(hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest(), request)
            job.watchers.add(socket)
            followed.add(job.id)
            await socket.send_json({"type": "job_status", "job_id": job.id, "status": job.status})
    except WebSocketDisconnect:
        for job_id in followed:
            jobs[job_id].watchers.discard(socket)
