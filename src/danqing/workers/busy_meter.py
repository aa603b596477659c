"""For how long something was busy. Pure: every time is given in, in seconds."""


class BusyMeter:
    """Told of each change; telling the same again changes nothing."""

    def __init__(self) -> None:
        self._total_s = 0.0
        self._since: float | None = None  # None: idle

    def tell(self, busy: bool, now: float) -> None:
        """From now on it is busy, or idle."""
        if busy and self._since is None:
            self._since = now
        elif not busy and self._since is not None:
            self._total_s += now - self._since
            self._since = None

    def seconds(self, now: float) -> float:
        """In all, until now; never less than before."""
        return self._total_s + (0.0 if self._since is None else now - self._since)
