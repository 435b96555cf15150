"""The table of faults in docs/reliability.md."""

import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass

INTRO = """\
# Reliability

Every job runs **at least once**, and its end is **fenced**. A job that was enqueued and committed
is not lost, whatever dies. A job whose worker was lost runs again, and late reports of the lost
worker have no effect. A completion that was reported is on the disk. It is not promised that a
handler runs only once: where its writes must happen only once, use `job.transaction()`.

Each row below is a test in [tests/chaos](../tests/chaos/) with real worker processes and a real
PostgreSQL. Every run of a handler writes a row to a ledger, so the test counts the jobs that were
lost and the jobs that ran twice. The same tests run at a smaller size in `make test`.

<!-- not run: it takes 20 minutes; tests/chaos runs each fault at a smaller size -->

```sh
make chaos    # runs all of them at full size, and writes this page
```
"""
LEGEND = """
**Lost**: jobs that are not completed at the end, or are completed without a run; for faults 14, 19
and 28, acknowledged jobs that are not in the table; for fault 27, waiters that heard nothing.
**Run twice**: jobs with more than one run in the ledger; *fenced*: the last run completed the job.
To move the clock of the database, the test moves every time in the tables the other way. The clock
of a worker is wrong only within its process.
"""


Note = Callable[..., None]


@dataclass(frozen=True)
class Figures:
    """The counts of one test. ``what`` says which time ``seconds`` measures."""

    jobs: int
    lost: int
    twice: int | None = None
    twice_why: str = ""
    seconds: float | None = None
    what: str = ""


@dataclass(frozen=True)
class Row:
    """One fault and its result."""

    number: int
    fault: str
    holds: str
    figures: Figures | None
    verdict: str

    @property
    def cells(self) -> list[str]:
        f = self.figures
        if f is None:
            return [str(self.number), self.fault, self.holds, "", "", "", "", self.verdict]
        twice = "–" if f.twice is None else f"{f.twice:,}"
        return [
            str(self.number), self.fault, self.holds, f"{f.jobs:,}", f"{f.lost:,}",
            f"{twice} {f.twice_why}".strip(),
            "–" if f.seconds is None else f"{f.seconds:.1f} {f.what}", self.verdict,
        ]


def page(rows: Iterable[Row], postgres: str) -> str:
    """The document."""
    lines = [INTRO, "| # | fault | must hold | jobs | lost | run twice | seconds | verdict |",
             "| --- | --- | --- | ---: | ---: | --- | --- | --- |"]
    lines += ["| " + " | ".join(row.cells) + " |" for row in sorted(rows, key=lambda r: r.number)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines += [LEGEND, f"Taken on {postgres}, Python {platform.python_version()}, {cores} cores."]
    return "\n".join(lines) + "\n"
