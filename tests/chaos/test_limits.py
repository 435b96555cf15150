"""Limits, rates and order hold whatever dies: by a ledger of each start and end."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from chaos.load import FULL, Size
from chaos.processes import FOLDER, Processes, Serve
from chaos.report import Note
from chaos.turmoil import SETTINGS, turmoil

BEGAN_WITH = "sql/functions/limits/_jobs_claim_groups.sql"


@pytest.fixture
def before_limits(tmp_path: Path) -> Path:
    """A folder that has the package of the commit before limits came."""

    def git(*arguments: str) -> bytes:
        return subprocess.run(
            ["git", *arguments], cwd=FOLDER.parents[1], check=True, capture_output=True
        ).stdout

    try:
        added = git("log", "--diff-filter=A", "--format=%H", "-1", "--", BEGAN_WITH).decode()
        archive = git("archive", f"{added.strip()}^", "pgjobs")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the history of the repository is not here")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(tmp_path / "before", filter="data")
    return tmp_path / "before"


@pytest.mark.fault(
    25,
    "SIGKILL or SIGTERM of workers at their limits, cuts of claims, failures, snoozes, releases,"
    " cancels, and changes of the limits",
    "no start exceeds a limit or a rate; in order, no job begins before those ahead of it have"
    " ended; no group is forgotten, and all jobs end",
)
async def test_no_limit_is_exceeded_and_no_group_is_forgotten_whatever_dies(
    serve: Serve, workers: Processes, size: Size, figures: Note
) -> None:
    starts, pause_s = (200_000, 2.0) if size is FULL else (1_500, 0.5)
    found = await turmoil(serve(SETTINGS).dsn, workers, starts, pause_s=pause_s)
    figures(jobs=found.jobs, lost=found.left, seconds=found.seconds, what=found.told)
    assert found.faults == dict.fromkeys(found.faults, 0), found


@pytest.mark.fault(
    26,
    "the same, where two of the four workers run the code from before limits",
    "the same; at least a quarter of the starts are by the older code; no tick of a schedule is"
    " fired twice",
)
async def test_workers_of_an_older_release_exceed_no_limit_and_fire_no_tick_twice(
    serve: Serve, workers: Processes, size: Size, figures: Note, before_limits: Path
) -> None:
    starts, pause_s = (50_000, 2.0) if size is FULL else (1_500, 0.5)
    found = await turmoil(
        serve(SETTINGS).dsn, workers, starts, old=before_limits, pause_s=pause_s)
    figures(jobs=found.jobs, lost=found.left, seconds=found.seconds,
            what=f"{found.told}; {found.by_old:,} starts by the older code")
    assert found.faults == dict.fromkeys(found.faults, 0), found
    assert found.by_old > found.starts / 4
    assert found.ticks > 0
