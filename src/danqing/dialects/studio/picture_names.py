"""What the studio calls pictures: `<job id>/original`, `preview`, `upscaled`, `input-1`, `mask`, `control`. Pure."""

FOLDER = "/studio/pictures"


def picture_path(job_id: str, name: str) -> str:
    """The (decoded) path on this server."""
    return f"{FOLDER}/{job_id}/{name}"


def input_name(place: int) -> str:
    """Of the input image at this place, from 0."""
    return f"input-{place + 1}"
