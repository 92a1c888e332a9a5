"""An idle timer says when the pod is no longer needed. Pure: the caller brings the clock."""


class IdleTimer:
    """An IdleTimer measures how long there has been no SSH session, from the start on."""

    def __init__(self, limit_s: float, now_s: float) -> None:
        self._limit_s = limit_s
        self._idle_since_s: float | None = now_s

    def observe(self, sessions: int, now_s: float) -> bool:
        """Take the number of sessions at `now_s` (monotonic, seconds); return True once idle for the limit."""
        if sessions:
            self._idle_since_s = None
            return False
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        return now_s - self._idle_since_s >= self._limit_s
