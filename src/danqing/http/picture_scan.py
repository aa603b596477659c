"""Takes base64 pictures out of a JSON text as it comes, so that no more than a piece of it is ever in memory.

Knows where strings begin and end and how deep they lie; whether the rest is JSON at all is json's to say.
"""

import json
import re
from collections.abc import Callable, Collection
from typing import Protocol

_OUTSIDE = re.compile(r'["{}\[\],:]')
_END_OR_ESCAPE = re.compile(r'["\\]')
_RUN = re.compile(r'[^"\\]*(?:\\(?:u[0-9a-fA-F]{4}|[^u])[^"\\]*)*', re.DOTALL)  # of a string, with whole escapes
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[^u])", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")
_ESCAPE_CHARS = 6
_LONGEST_KEY = 64  # characters; a longer one is nobody's


class PictureSink(Protocol):
    """Takes the text of one picture."""

    def feed(self, text: str) -> None:
        """The next piece."""
        ...

    def finish(self) -> None:
        """There is no more."""
        ...


class PictureScan:
    """A JSON text, piece by piece. For one thread at a time.

    names: of the fields whose texts are pictures. depths: in how many brackets they lie; 1 is the top level. open_sink:
    called with the name for each of them; returns where its text goes, and the text that stands for it in what is kept.
    """

    def __init__(
        self,
        names: Collection[str],
        open_sink: Callable[[str], tuple[PictureSink, str]],
        *,
        max_kept_chars: int,
        depths: Collection[int] = (1,),
    ) -> None:
        self._names = names
        self._depths = depths
        self._open_sink = open_sink
        self._max_kept_chars = max_kept_chars
        self._kept: list[str] = []
        self._kept_chars = 0
        self._unkept = 0  # where in the piece at hand begins what is yet to be kept
        self._rest = ""  # an escape of which the end has not come
        self._stack: list[str] = []  # open brackets
        self._key = ""  # the one that is read, or was read last, in the innermost of them
        self._in_value = False
        self._in_string = False
        self._sink: PictureSink | None = None

    def feed(self, text: str) -> None:
        """The next piece. Raises ValueError for what is no JSON, OverflowError if too much is kept."""
        text, self._rest, self._unkept = self._rest + text, "", 0
        at, end = 0, len(text)
        while at < end:
            if self._sink is not None:
                at = self._feed_picture(self._sink, text, at)
            elif self._in_string:
                at = self._feed_string(text, at)
            else:
                at = self._feed_outside(text, at)
        if self._sink is None:
            self._keep(text[self._unkept : end - len(self._rest)])

    def finish(self) -> str:
        """The JSON text with other texts in place of the pictures. Raises ValueError."""
        if self._rest or self._in_string:
            raise ValueError("the text ends in a string")
        return "".join(self._kept)

    def _feed_outside(self, text: str, at: int) -> int:
        found = _OUTSIDE.search(text, at)
        if found is None:
            return len(text)
        match found[0]:
            case '"':
                self._begin_string(text, found.end())
            case "{" | "[" as bracket:
                self._open(bracket)
            case "}" | "]":
                self._close()
            case ":":
                self._in_value = True
            case ",":
                self._in_value = False
            case _:
                pass
        return found.end()

    @property
    def _in_object(self) -> bool:
        return bool(self._stack) and self._stack[-1] == "{"

    def _open(self, bracket: str) -> None:
        self._stack.append(bracket)
        self._in_value = False

    def _close(self) -> None:
        if self._stack:
            self._stack.pop()
        self._in_value = True  # what was closed is one

    def _begin_string(self, text: str, at: int) -> None:
        self._in_string = True
        if not self._in_object:
            return
        if not self._in_value:
            self._key = ""
        elif self._key in self._names and len(self._stack) in self._depths:
            self._keep(text[self._unkept : at])
            self._sink, placeholder = self._open_sink(self._key)
            self._keep(placeholder)

    def _feed_string(self, text: str, at: int) -> int:
        """A string that is kept."""
        found = _END_OR_ESCAPE.search(text, at)
        end = len(text) if found is None else found.start()
        self._add_to_key(text[at : min(end, at + _LONGEST_KEY + 1)])
        if found is None:
            return end
        if found[0] == '"':
            self._in_string = False
            return end + 1
        escape = self._escape(text, end)
        if escape is None:
            return len(text)
        self._add_to_key(_unescaped(escape))
        return end + len(escape)

    def _feed_picture(self, sink: PictureSink, text: str, at: int) -> int:
        run = _RUN.match(text, at)
        end = at if run is None else run.end()
        if end > at:
            sink.feed(_unescaped(text[at:end]))
        if end == len(text):
            return end
        if text[end] == '"':
            sink.finish()
            self._sink, self._in_string, self._unkept = None, False, end
            return end + 1
        if self._escape(text, end) is not None:
            raise AssertionError("an escape that the run has left")
        return len(text)

    def _escape(self, text: str, at: int) -> str | None:
        """The escape that begins there; None, and it is put by, while its end has not come. Raises ValueError."""
        found = _ESCAPE.match(text, at)
        if found is not None:
            return found[0]
        if len(text) - at >= _ESCAPE_CHARS:
            raise ValueError("an escape that there is not")
        self._rest = text[at:]
        return None

    def _add_to_key(self, text: str) -> None:
        if self._in_object and not self._in_value and len(self._key) <= _LONGEST_KEY:
            self._key += text

    def _keep(self, text: str) -> None:
        self._kept_chars += len(text)
        if self._kept_chars > self._max_kept_chars:
            raise OverflowError
        if text:
            self._kept.append(text)


def _unescaped(text: str) -> str:
    """Of a part of a string with whole escapes. In C, for some programs escape every + and /. Raises ValueError."""
    if "\\" in text or _CONTROL.search(text):
        return json.loads(f'"{text}"')
    return text
