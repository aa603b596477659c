"""An ImageIntake that decodes in the test's own process: quick, and as trusting as tests may be."""

import asyncio
import hashlib
import io
import secrets
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from danqing.core.errors import InvalidImage
from danqing.core.images import StagedImage
from danqing.core.picture_ports import ArtifactStore


class PlainIntake:
    """Takes whatever Pillow reads as PNG, JPEG or WebP."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    async def stage(
        self, content: bytes | Path, *, parameter: str, owner: str = "", as_mask: bool = False
    ) -> StagedImage:
        return await asyncio.to_thread(self._stage, content, parameter, as_mask)

    async def discard(self, images: Sequence[StagedImage]) -> None:
        for image in images:
            image.path.unlink(missing_ok=True)

    def _stage(self, content: bytes | Path, parameter: str, as_mask: bool) -> StagedImage:
        data = content if isinstance(content, bytes) else content.read_bytes()
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
                image = opened.convert("RGBA")
        except (UnidentifiedImageError, OSError, ValueError) as exc:
            raise InvalidImage(f"{parameter} is not a PNG, JPEG or WebP image.", parameter=parameter) from exc
        if as_mask:
            image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
        has_alpha = any(value < 255 for value in image.getchannel("A").tobytes())
        file = io.BytesIO()
        (image if has_alpha else image.convert("RGB")).save(file, "PNG", compress_level=1)
        path = self._artifacts.staging() / f"{secrets.token_hex(16)}.png"
        path.write_bytes(file.getvalue())
        digest = hashlib.sha256(file.getvalue()).hexdigest()
        return StagedImage(path=path, sha256=digest, width=image.width, height=image.height, has_alpha=has_alpha)
