"""What a call of a model takes of the device's memory: measured once, foreseen from then on. Imports no torch."""

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from danqing.core.capabilities import FreeSizes, SizeRules

log = structlog.get_logger(__name__)

Size = tuple[int, int]  # width, height
MARGIN = 1.1  # over what is foreseen: allocators leave gaps, and prompts differ in length
FAR = 4.0  # times as large, or as small: from there on an estimate says more than what was measured
MOST_PEAKS = 5000  # kept of a file; each is another size or batch that somebody asked for


class Way(StrEnum):
    """How a model makes pictures; each takes less memory, and longer, than the one before."""

    PLAIN = "plain"
    TILED = "tiled"  # the autoencoder works in tiles
    OFFLOADED = "offloaded"  # so, and only the running part of the model is on the device


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a model, as far as its memory depends on it. Its working memory is all that it takes beside weights.

    model: that and which checkpoint of it. precision: of its weights, and what it computes in. width, height: as the
    model makes them. pictures: made together. guided: each is computed twice a step.
    """

    model: str
    precision: str
    mode: str
    way: Way
    guided: bool
    width: int
    height: int
    pictures: int

    @property
    def work(self) -> int:
        """Pixels of all pictures, to which working memory is about proportional."""
        return self.width * self.height * self.pictures

    def like(self, other: "Call") -> bool:
        """True if they differ in nothing but work."""
        return self._kind == other._kind

    @property
    def _kind(self) -> tuple[object, ...]:
        return (self.model, self.precision, self.mode, self.way, self.guided)


class _Peak(BaseModel):
    """A line of the file."""

    model_config = ConfigDict(extra="forbid")

    model: str
    precision: str
    mode: str
    way: Way
    guided: bool
    width: PositiveInt
    height: PositiveInt
    pictures: PositiveInt
    working_bytes: NonNegativeInt


_PEAKS = TypeAdapter(list[_Peak])


class Peaks:
    """The most working memory that each call took, kept in a file that the workers of a server share."""

    def __init__(self, file: Path | None) -> None:
        """file: None keeps nothing. What it says counts from the start; a damaged one is begun anew."""
        self._file = file
        self._bytes = dict(self._read())

    def get(self, call: Call) -> int | None:
        """What was measured of exactly this call."""
        return self._bytes.get(call)

    def nearest(self, call: Call) -> tuple[Call, int] | None:
        """Of the calls that differ in nothing but work the one whose work comes nearest, and what was measured."""
        alike = ((other, taken) for other, taken in self._bytes.items() if other.like(call))
        return min(alike, key=lambda each: abs(math.log(each[0].work / call.work)), default=None)

    def note(self, call: Call, working_bytes: int) -> None:
        """Remembers it, if it is more than before. A file that cannot be written is a warning."""
        if working_bytes <= self._bytes.get(call, -1):
            return
        # Others write too; what one of them adds at this very moment is lost, and is measured again.
        for other, taken in self._read():
            self._bytes[other] = max(taken, self._bytes.get(other, 0))
        self._bytes.pop(call, None)  # the newest is kept longest
        self._bytes[call] = working_bytes
        for oldest in list(self._bytes)[:-MOST_PEAKS]:
            del self._bytes[oldest]
        if self._file is not None:
            try:
                _write(self._file, [asdict(each) | {"working_bytes": taken} for each, taken in self._bytes.items()])
            except OSError as exc:
                log.warning("memory_peaks_not_written", file=str(self._file), reason=exc.strerror)

    def _read(self) -> Iterator[tuple[Call, int]]:
        if self._file is None:
            return
        try:
            peaks = _PEAKS.validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValidationError):
            log.warning("memory_peaks_not_read", file=str(self._file))
            return
        for peak in peaks:
            yield Call(**peak.model_dump(exclude={"working_bytes"})), peak.working_bytes


def _write(file: Path, lines: Sequence[Mapping[str, object]]) -> None:
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False) as new:
        try:
            new.write("[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]\n")
            new.flush()
            Path(new.name).replace(file)
        except OSError:
            Path(new.name).unlink(missing_ok=True)
            raise


def foreseen_bytes(peaks: Peaks, call: Call, estimate: Callable[[Call], int]) -> int:
    """Working memory that the call will take. estimate: what is thought of a call without any measurement.

    As much more, or less, than the nearest call that was measured as is thought, unless that is far away: not all work
    grows with the pictures, which are decoded one by one.
    """
    if (measured := peaks.get(call)) is not None:
        return measured
    thought, near = estimate(call), peaks.nearest(call)
    if near is None:
        return int(thought * MARGIN)
    other, taken = near
    if not 1 / FAR <= call.work / other.work <= FAR:
        return max(int(thought * MARGIN), taken if other.work < call.work else 0)
    return int(taken * thought / max(1, estimate(other)) * MARGIN)


def largest_batch(fits: Callable[[int], bool], pictures: int) -> int:
    """How many of so many pictures are made together, so that the batches come out about equal; 0: not even one."""
    most = next((count for count in range(pictures, 0, -1) if fits(count)), 0)
    return most and math.ceil(pictures / math.ceil(pictures / most))


def largest_size(rules: SizeRules, size: Size, fits: Callable[[Size], bool]) -> Size | None:
    """The largest size that fits, of about the shape of one that does not; None: none does."""
    return max((each for each in _smaller(rules, size) if fits(each)), key=lambda each: each[0] * each[1], default=None)


def _smaller(rules: SizeRules, size: Size) -> Iterator[Size]:
    if not isinstance(rules, FreeSizes):
        yield from rules.sizes
        return
    step, (width, height) = rules.multiple_of, size
    longer, least = max(size), rules.min_side
    for side in range(longer // step * step, least - 1, -step):
        shrunk = (int(width * side / longer) // step * step, int(height * side / longer) // step * step)
        if min(shrunk) < least:
            return
        yield shrunk
