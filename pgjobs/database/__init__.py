"""One method per SQL function: the same name, the same arguments, one statement.

Values of ``jsonb`` arguments are JSON text here. A moment (``run_at``) may be given as a
``timedelta`` from now, which the database adds to its own clock.
"""

from pgjobs.database.audit import Audit
from pgjobs.database.claim import Claim
from pgjobs.database.enqueue import Enqueue
from pgjobs.database.finish import Finish
from pgjobs.database.flows import Flows
from pgjobs.database.history import History
from pgjobs.database.lease import Lease, as_recovered
from pgjobs.database.limits import Limits
from pgjobs.database.looking import Looking
from pgjobs.database.manage import Manage
from pgjobs.database.reading import Reading
from pgjobs.database.retention import Retention
from pgjobs.database.schedules import Schedules
from pgjobs.database.statements import JOB_COLUMNS, NULL_WHEN_CLAIMED, Moment, quote
from pgjobs.database.watching import Watching
from pgjobs.database.workers import Workers

__all__ = ["JOB_COLUMNS", "NULL_WHEN_CLAIMED", "Database", "Moment", "as_recovered", "quote"]


class Database(
    Enqueue, Claim, Finish, Lease, Workers, Watching, Flows, Schedules, Limits, Retention,
    Manage, Reading, Looking, History, Audit,
):
    """The SQL functions of one schema, on one connection or pool."""

    __slots__ = ()
