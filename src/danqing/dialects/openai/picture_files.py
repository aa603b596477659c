"""Names of the pictures that are handed out by address: `<job id>.png`, or with a quality, `<job id>-80.webp`."""

import re
from dataclasses import dataclass

from danqing.dialects.openai.schemas import OutputFormat

FOLDER = "/v1/files/images"
MEDIA_TYPES: dict[OutputFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_NAME = re.compile(r"([0-9a-f-]{36})(?:\.(png)|-(\d|[1-9]\d|100)\.(jpeg|webp))", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class PictureFile:
    """compression: 0 to 100; of no meaning for PNG."""

    job_id: str
    output_format: OutputFormat
    compression: int = 100

    @property
    def name(self) -> str:
        """Its last part of the path."""
        quality = "" if self.output_format == "png" else f"-{self.compression}"
        return f"{self.job_id}{quality}.{self.output_format}"

    @property
    def path(self) -> str:
        """On this server."""
        return f"{FOLDER}/{self.name}"


def parse_name(name: str) -> PictureFile | None:
    """None for a name that is none of ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    if match[2]:
        return PictureFile(job_id=match[1], output_format="png")
    output_format: OutputFormat = "jpeg" if match[4] == "jpeg" else "webp"
    return PictureFile(job_id=match[1], output_format=output_format, compression=int(match[3]))
