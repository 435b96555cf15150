"""The table of faults, as docs/reliability.md holds it."""

import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass

INTRO = """\
# Reliability

Every job runs **at least once**, and its end is **fenced**. What was enqueued and committed is not
lost, whatever dies. A job whose worker was lost runs again, and what the lost worker still says of
it has no effect. A completion that was reported is on the disk. What is not promised is that a
handler runs only once: where it must, it writes in `job.transaction()`.

Each row below is a test in [tests/chaos](../tests/chaos/) with real worker processes and a real
PostgreSQL. Every run of a handler is a row of a ledger, so what is lost and what runs twice is
counted. The same tests run at a smaller size in `make test`.

```sh
make chaos    # all of them at full size, and this page
```
"""
LEGEND = """
**Lost**: enqueued, and not completed at the end, or completed without a run. **Run twice**: more
than one run in the ledger; *fenced*: the job was completed by its last run. The database's clock is
moved by moving every time in the tables the other way, a worker's within its process.
"""


Note = Callable[..., None]


@dataclass(frozen=True)
class Figures:
    """What one test has counted; ``seconds`` from something to something, as ``what`` says."""

    jobs: int
    lost: int
    twice: int | None = None
    twice_why: str = ""
    seconds: float | None = None
    what: str = ""


@dataclass(frozen=True)
class Row:
    """One fault and what came of it."""

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
