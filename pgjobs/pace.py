"""Whether jobs come in so quickly that a worker had better look by itself."""

import time

# From about two hundred jobs per second a claim every few milliseconds finds more than it costs.
# Below, NOTIFY is quicker, and idling costs nothing. It must not be much more: where each NOTIFY
# waits for a slow disk, producers never get beyond it, and would be held up for ever.
WINDOW = 0.05  # seconds
BUSY = 10  # jobs per window


class Pace:
    """Counts claimed jobs."""

    def __init__(self) -> None:
        self._began = 0.0
        self._count = 0
        self._before = 0
        self._last = 0.0

    def count(self, jobs: int) -> None:
        """Takes what one claim gave."""
        now = time.monotonic()
        if now - self._began >= WINDOW:
            self._before = self._count if now - self._began < 2 * WINDOW else 0
            self._began, self._count = now, 0
        self._count += jobs
        if jobs:
            self._last = now

    @property
    def is_busy(self) -> bool:
        """Whether this window or the one before was full of jobs, and that was just now."""
        return max(self._count, self._before) >= BUSY and self.idle_for < 2 * WINDOW

    @property
    def idle_for(self) -> float:
        """Seconds since a claim gave a job."""
        return time.monotonic() - self._last
