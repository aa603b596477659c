"""Zimage's answers as its OpenAPI document shows them; they are those of the vendor's document."""

from collections.abc import Mapping
from typing import Any

from danqing.http.openapi import example

_TASK_ID = "b0e4aaf0bfa7421b9cb94c624c7fd139"
_OTHER_IDS = (
    "5f0c1f8e6f0b4f3c9a7d2f4a1f0e9b3c",
    "c2a1d0b94e6f4a7f8d3b5e9071f62a84",
    "91d4e7b0a35c4d0f96e81b7c2f5a0d63",
)
_BATCH_ID = "0d6b3b3b-0b4b-4c87-8d46-6b1e7e6f7f1a"
_FILES = "/srv/danqing/outputs"
_NAME = f"20250101/120000_{_TASK_ID}"
_NOON = "2025-01-01T12:00:00.000000+00:00"

SUBMITTED: Mapping[str, object] = {"task_id": _TASK_ID, "status_url": f"/v1/tasks/{_TASK_ID}", "image_url": None}

TASK: Mapping[str, object] = {
    "task_id": _TASK_ID,
    "status": "SUCCESS",
    "result": {
        "image_id": _TASK_ID,
        "prompt": "a cat sitting on the chair",
        "height": 1024,
        "width": 1024,
        "num_inference_steps": 9,
        "guidance_scale": 0.0,
        "seed": 42,
        "negative_prompt": "",
        "cfg_normalization": None,
        "cfg_truncation": None,
        "max_sequence_length": None,
        "created_at": _NOON,
        "auth_key": "client-key-1",
        "metadata": {"batch_id": _BATCH_ID, "batch_index": 0, "batch_size": 4},
        "output_path": f"{_FILES}/b0e4aaf0-bfa7-421b-9cb9-4c624c7fd139.png",
        "relative_path": f"{_NAME}.png",
        "preview_output_path": f"{_FILES}/b0e4aaf0-bfa7-421b-9cb9-4c624c7fd139.webp",
        "preview_relative_path": f"{_NAME}.webp",
    },
    "error": None,
    "error_code": None,
    "error_hint": None,
    "image_url": f"/generated-images/{_NAME}.webp",
    "progress": 100,
}

CANCELLED: Mapping[str, object] = {"task_id": _TASK_ID, "status": "CANCELLED", "message": "Cancellation requested"}

_BATCH: Mapping[str, object] = {
    "task_id": _BATCH_ID,
    "status": "SUCCESS",
    "created_at": _NOON,
    "prompt": "a cat sitting on the chair",
    "height": 1024,
    "width": 1024,
    "image_url": f"/generated-images/{_NAME}.webp",
    "num_inference_steps": 9,
    "guidance_scale": 0.0,
    "seed": 42,
    "batch_size": 4,
    "success_count": 4,
    "failed_count": 0,
    "base_seed": 42,
}

HISTORY: list[Mapping[str, object]] = [{**_BATCH, "relative_path": f"{_NAME}.png"}]

BATCH: Mapping[str, object] = {
    "batch": _BATCH,
    "items": [
        {
            "task_id": task_id,
            "index": index,
            "status": "success",
            "image_url": f"/generated-images/20250101/12000{index}_{task_id}.webp",
            "width": 1024,
            "height": 1024,
            "seed": 42 + index,
            "error_code": None,
            "error_hint": None,
        }
        for index, task_id in enumerate((_TASK_ID, *_OTHER_IDS))
    ],
}

DELETED: Mapping[str, object] = {
    "task_id": _BATCH_ID,
    "status": "deleted",
    "message": "Batch deleted from history",
}


def shown(answer: object) -> dict[int | str, dict[str, Any]]:
    """This answer as FastAPI's `responses`, for the OpenAPI document."""
    return {200: {"content": {"application/json": {"example": example(answer)}}}}
