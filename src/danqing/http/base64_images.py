"""Pictures that arrive as base64 text: decoded piece by piece, strict about the alphabet, never beyond the limit."""

import binascii
from collections.abc import Callable

from danqing.core.errors import InvalidImage
from danqing.core.sentences import says

_HEADER_CHARS = 256  # the longest `data:image/png;base64,` that is looked for
_WHITESPACE = b" \t\r\n"
_GROUP = 4  # characters that stand for three bytes


class Base64Decoding:
    """One text on its way to bytes: plain base64, or a data URL. For one thread at a time.

    Line breaks and blanks are passed over; padding may be missing.
    """

    def __init__(
        self, write: Callable[[bytes], object], *, max_bytes: int, parameter: str, only_url: bool = False
    ) -> None:
        """write: takes what was decoded. max_bytes: of the decoded picture. only_url: plain base64 is refused.

        parameter: its name in the client's request, for the message.
        """
        self._write = write
        self._max_bytes = max_bytes
        self._parameter = parameter
        self._only_url = only_url
        self._header: str | None = ""  # what came before it is known where the base64 begins
        self._read_chars = 0
        self._written = 0
        self._left = b""  # the last group may be padded, and only the last one of all may

    def feed(self, text: str) -> None:
        """The next piece of the text. Raises InvalidImage; what comes after that means nothing."""
        if self._header is None:
            self._decode(text)
            return
        came = self._header + text
        self._header = came.lstrip(_WHITESPACE.decode())
        self._count(len(came) - len(self._header))
        if len(self._header) >= _HEADER_CHARS:
            self._begin()

    def finish(self) -> None:
        """The text has ended. Raises InvalidImage."""
        if self._header is not None:
            self._begin()
        padding = b"=" * (-len(self._left) % _GROUP)
        self._put(self._left + padding)
        if not self._written:
            raise InvalidImage(f"{self._parameter} is empty.", parameter=self._parameter)

    def _begin(self) -> None:
        text, self._header = self._header or "", None
        start = _data_start(text, self._parameter)
        if self._only_url and not start:
            raise InvalidImage(
                f"{self._parameter} must be a data URL with base64; pictures are not fetched from elsewhere.",
                parameter=self._parameter,
            )
        self._decode(text[start:])

    def _count(self, chars: int) -> None:
        self._read_chars += chars
        # Lines of 76 characters end in two that do not count; texts with more blanks than that are nobody's.
        if self._read_chars * 76 // 78 > (self._max_bytes + 2) // 3 * _GROUP:
            raise self._too_large()

    def _decode(self, text: str) -> None:
        self._count(len(text))
        try:
            characters = self._left + text.encode("ascii").translate(None, _WHITESPACE)
        except ValueError as exc:
            raise self._invalid() from exc
        whole = max(0, len(characters) - 1) // _GROUP * _GROUP
        if b"=" in characters[:whole]:
            raise self._invalid()
        self._left = characters[whole:]
        self._put(characters[:whole])

    def _put(self, groups: bytes) -> None:
        try:
            decoded = binascii.a2b_base64(groups, strict_mode=True)
        except ValueError as exc:  # a sign that base64 has not, or a last group that cannot be
            raise self._invalid() from exc
        self._written += len(decoded)
        if self._written > self._max_bytes:
            raise self._too_large()
        self._write(decoded)

    def _invalid(self) -> InvalidImage:
        return InvalidImage(f"{self._parameter} is not valid base64.", parameter=self._parameter)

    def _too_large(self) -> InvalidImage:
        return InvalidImage(
            says("picture_too_many_bytes", parameter=self._parameter, most=self._max_bytes // 1024**2),
            parameter=self._parameter,
        )


def _data_start(text: str, parameter: str) -> int:
    """Where the base64 begins."""
    if text[:5].lower() != "data:":
        return 0
    comma = text.find(",", 0, _HEADER_CHARS)
    if comma < 0 or not text[:comma].lower().endswith(";base64"):
        raise InvalidImage(f"{parameter} is a data URL that is not base64.", parameter=parameter)
    return comma + 1
