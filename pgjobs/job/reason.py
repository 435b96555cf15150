"""Why a job does not run."""

from typing import NamedTuple


class Reason(NamedTuple):
    """One reason, as ``jobs_why`` tells it."""

    reason: str  # in one or two words
    detail: str
    advice: str
