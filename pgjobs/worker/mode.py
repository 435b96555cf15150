"""The three modes of a worker.

listening: slots are free and nothing came lately. A signal wakes the worker.
polling: jobs come quickly. The worker claims every few milliseconds, and producers send no signal.
full: no slot is free. No signal is sent to the worker.

===========  ===========  =====================================================================
from         to           when
===========  ===========  =====================================================================
listening,   polling      it claimed ``JOBS_PER_WINDOW_TO_POLL`` jobs within ``RATE_WINDOW_S``;
full                      at most two workers poll a queue
listening    polling      another worker polls and leaves due jobs
polling      listening    no job came for ``LISTEN_AFTER_IDLE_S``
listening,   full         no slot was free for ``FULL_AFTER_S``, or the worker stops
polling
full         listening    a claim found fewer jobs than slots were free
===========  ===========  =====================================================================
"""

from enum import Enum


class Mode(Enum):
    """How a worker learns of new jobs."""

    LISTENING = "listening"
    POLLING = "polling"
    FULL = "full"
