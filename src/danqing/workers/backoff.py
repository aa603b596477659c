"""How long to wait before a dead worker is started again."""

from danqing.workers.spec import WorkerRules


class Backoff:
    """Doubles from pause to pause, up to a limit, and starts anew after a process that was stable."""

    def __init__(self, rules: WorkerRules) -> None:
        self._rules = rules
        self._next_s = rules.first_backoff_s

    def after(self, ready_s: float) -> float:
        """Seconds to wait after a process that was ready for ready_s seconds (0: it never was)."""
        if ready_s >= self._rules.stable_s:
            self._next_s = self._rules.first_backoff_s
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._rules.max_backoff_s)
        return pause_s
