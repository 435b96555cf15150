"""What several pages ask the database: each question with its key, so that pages share answers."""

from collections.abc import Sequence

from pgjobs.job.job import Row
from pgjobs.web.lookups import Seen
from pgjobs.web.page import Asked

# Good enough for what takes longest: checks, counts, failures, sizes and the history.
AT_ONCE_FOR_S = 10.0


async def verdicts(asked: Asked) -> Sequence[Row] | None:
    """What the doctor has found."""
    return await asked.value("doctor", lambda database: database.doctor(), AT_ONCE_FOR_S)


async def counts(
    asked: Asked, at_once_for_s: float = AT_ONCE_FOR_S
) -> Sequence[Row] | None:
    """How many jobs each queue and type has in each state."""
    return await asked.value("stats", lambda database: database.stats(), at_once_for_s)


async def workers(asked: Asked) -> Sequence[Row] | None:
    """The registered workers."""
    return await asked.value("workers", lambda database: database.workers())


async def listed(asked: Asked, job_id: int) -> Seen[Row | None]:
    """One job as a list shows it; the value is None if there is none, or it is not read yet."""
    return await asked.look(("listed", job_id), lambda database: database.listed(job_id))
