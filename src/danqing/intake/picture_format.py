"""Tells a picture's format by its first bytes; what a client says about it counts for nothing."""

HEAD_BYTES = 16


def picture_format(head: bytes) -> str | None:
    """head: the file's first HEAD_BYTES. Returns "PNG", "JPEG" or "WEBP", Pillow's names; None for anything else."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    return None
