"""Runs workload.py in a process whose clock is wrong: skewed.py SECONDS [what workload.py takes].

Only functions that return the time of day are wrong. A monotonic clock cannot be set.
"""

import datetime
import runpy
import sys
import time
from pathlib import Path

_WRONG_BY = float(sys.argv.pop(1))
_time, _time_ns = time.time, time.time_ns


class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=_WRONG_BY)

    @classmethod
    def utcnow(cls):
        return cls.now(datetime.UTC).replace(tzinfo=None)


time.time = lambda: _time() + _WRONG_BY
time.time_ns = lambda: _time_ns() + int(_WRONG_BY * 1e9)
datetime.datetime = _Datetime  # type: ignore[misc]
runpy.run_path(str(Path(__file__).with_name("workload.py")), run_name="__main__")
