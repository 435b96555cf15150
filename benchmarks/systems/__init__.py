"""The systems that are compared: one file each, with the interface of ``system.py``."""

from .chancy_ import Chancy
from .graphile_ import GraphileWorker
from .pgjobs_ import Pgjobs
from .pgqueuer_ import PgQueuer
from .procrastinate_ import Procrastinate
from .system import NotAvailable, Producer, System

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (Pgjobs(), PgQueuer(), Procrastinate(), Chancy(), GraphileWorker())
}

__all__ = ["SYSTEMS", "NotAvailable", "Producer", "System"]
