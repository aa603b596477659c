"""Which of a running job's previews a client gets that asked for some partial images. Pure."""


class PartialPicker:
    """Spreads them evenly over the steps before the last; of fewer steps than asked for, each has one."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._taken = 0

    def take(self, step: int, total_steps: int) -> int | None:
        """The index of the partial image that the preview after this step is; None if it is none.

        A preview that was lost on the way is made up for by the next.
        """
        count = min(self._wanted, total_steps - 1)
        due = sum(1 for place in range(1, count + 1) if place * total_steps // (count + 1) <= step)
        if self._taken >= due:
            return None
        self._taken += 1
        return self._taken - 1
