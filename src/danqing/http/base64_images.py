"""Pictures that arrive as base64 text: strict about the alphabet, bounded before anything is decoded."""

import asyncio
import binascii

from danqing.core.errors import InvalidImage

_PIECE_CHARS = 1024 * 1024  # decoded at a time, so that other threads get their turn between two pieces
_HEADER_CHARS = 256  # the longest `data:image/png;base64,` that is looked for
_WHITESPACE = b" \t\r\n"
_GROUP = 4  # characters that stand for three bytes


async def decode_base64_image(text: str, *, max_bytes: int, parameter: str) -> bytes:
    """The bytes that text stands for: plain base64, or a data URL. In a thread.

    Line breaks and blanks are passed over; padding may be missing. max_bytes: of the decoded picture.
    parameter: its name in the client's request, for the message. Raises InvalidImage.
    """
    return await asyncio.to_thread(_decode, text, max_bytes, parameter)


def _decode(text: str, max_bytes: int, parameter: str) -> bytes:
    start = _data_start(text, parameter)
    # Lines of 76 characters end in two that do not count; texts with more blanks than that are nobody's.
    if (len(text) - start) * 76 // 78 > (max_bytes + 2) // 3 * _GROUP:
        raise _too_large(max_bytes, parameter)
    decoded, left = bytearray(), b""
    try:
        for at in range(start, len(text), _PIECE_CHARS):
            characters = left + text[at : at + _PIECE_CHARS].encode("ascii").translate(None, _WHITESPACE)
            # The last group may be padded, and only the last one of all may: it is left for the next round.
            whole = max(0, len(characters) - 1) // _GROUP * _GROUP
            decoded += binascii.a2b_base64(characters[:whole], strict_mode=True)
            if b"=" in characters[:whole]:
                raise _invalid(parameter)
            left = characters[whole:]
        padding = b"=" * (-len(left) % _GROUP)
        decoded += binascii.a2b_base64(left + padding, strict_mode=True)
    except ValueError as exc:  # a sign that base64 has not, or a last group that cannot be
        raise _invalid(parameter) from exc
    if not decoded:
        raise InvalidImage(f"{parameter} is empty.", parameter=parameter)
    if len(decoded) > max_bytes:
        raise _too_large(max_bytes, parameter)
    return bytes(decoded)


def _data_start(text: str, parameter: str) -> int:
    """Where the base64 begins."""
    if text[:5].lower() != "data:":
        return 0
    comma = text.find(",", 0, _HEADER_CHARS)
    if comma < 0 or not text[:comma].lower().endswith(";base64"):
        raise InvalidImage(f"{parameter} is a data URL that is not base64.", parameter=parameter)
    return comma + 1


def _invalid(parameter: str) -> InvalidImage:
    return InvalidImage(f"{parameter} is not valid base64.", parameter=parameter)


def _too_large(max_bytes: int, parameter: str) -> InvalidImage:
    return InvalidImage(
        f"{parameter} is larger than {max_bytes // 1024**2} MiB, which is what is taken.", parameter=parameter
    )
