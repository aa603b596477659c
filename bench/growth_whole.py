"""`growth.py` with all of its sizes, under a name of its own, so that the usual run keeps what it has found."""

import growth


def measure(quick: bool) -> dict[str, growth.Costs]:
    """See `growth.measure`."""
    return growth.measure(quick)
