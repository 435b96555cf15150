"""One method per SQL function: the same name, the same arguments, one statement.

Values of ``jsonb`` arguments are JSON text here. A moment (``run_at``) may be given as a
``timedelta`` from now, which the database adds to its own clock: the only one there is.
"""

from .claiming import Claiming
from .looking import Looking
from .managing import Managing
from .producing import Producing
from .statements import JOB_COLUMNS, Executor, Moment, quote

__all__ = ["JOB_COLUMNS", "Database", "Executor", "Moment", "quote"]


class Database(Producing, Claiming, Managing, Looking):
    """The SQL functions of one schema, on one connection or pool."""

    __slots__ = ()
