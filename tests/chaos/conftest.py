"""Worker processes, servers for one test alone, and the report."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest
from chaos.load import FULL, SHORT, Size
from chaos.processes import Processes, Serve
from chaos.report import Figures, Note, Row, page
from chaos.standby import Follow, Standby
from chaos.workload import LEDGER

from pgjobs import migrate
from pgjobs.embedded import EmbeddedPostgres, _wheel_bin

_FIGURES = pytest.StashKey[Figures]()
_ROWS = pytest.StashKey[dict[str, Row]]()


@pytest.fixture
def size(pytestconfig: pytest.Config) -> Size:
    """Full with --chaos, else short."""
    return FULL if pytestconfig.getoption("--chaos") else SHORT


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Note:
    """figures(jobs=…, lost=…, …): this test's row of the report. Call it before the assertions."""

    def note(**counted: int | float | str | None) -> None:
        request.node.stash[_FIGURES] = Figures(**counted)  # type: ignore[arg-type]

    return note


@pytest.fixture
async def ledger(conn: asyncpg.Connection) -> asyncpg.Connection:
    """The connection to the test's database, with a ledger in it."""
    await conn.execute(LEDGER)
    return conn


@pytest.fixture
def workers(pgjobs_dsn: str, tmp_path: Path) -> Iterator[Processes]:
    """Starts worker processes, which end with the test."""
    made = Processes(pgjobs_dsn, tmp_path)
    yield made
    made.end()


@pytest.fixture
def serve(pytestconfig: pytest.Config) -> Iterator[Serve]:
    """serve(settings): a server for this test alone; by default it flushes to disk.

    Its folder stays until the test ends, so the test can stop the server and start it again.
    """
    with ExitStack() as stack:

        def start(settings: dict[str, str] | None = None) -> EmbeddedPostgres:
            chosen = pytestconfig.getoption("--pg-bin")
            folder = _folder(stack) / "cluster"
            server = EmbeddedPostgres(folder, settings=settings, bin=chosen)
            migrate(stack.enter_context(server).dsn)
            return server

        yield start


@pytest.fixture
def follow() -> Iterator[Follow]:
    """follow(primary, conninfo=…): a standby of that server, for this test alone."""
    with ExitStack() as stack:

        def start(primary: EmbeddedPostgres, conninfo: str | None = None) -> Standby:
            standby = Standby(primary, _folder(stack) / "cluster", conninfo=conninfo)
            return stack.enter_context(standby)

        yield start


def _folder(stack: ExitStack) -> Path:
    """A folder until the stack ends."""
    # Not pytest's folder: the system user that runs PostgreSQL for root cannot reach it.
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgjobs-")))
    folder.chmod(0o755)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:
    report = yield
    mark = item.get_closest_marker("fault")
    if mark is not None and (call.when == "call" or not report.passed):
        number, fault, holds = mark.args
        variant = getattr(item, "callspec", None)
        rows = item.config.stash.setdefault(_ROWS, {})
        rows[item.nodeid] = Row(
            number, fault.format(**variant.params) if variant else fault, holds,
            item.stash.get(_FIGURES, None),
            {"passed": "holds", "failed": "**does not hold**"}.get(report.outcome, "left out"),
        )
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--chaos")
    rows = session.config.stash.get(_ROWS, {})
    if path and rows:
        programs = Path(session.config.getoption("--pg-bin") or _wheel_bin())
        said = subprocess.run(
            [programs / "postgres", "--version"], check=True, capture_output=True, text=True
        ).stdout
        version = re.search(r"\d+(\.\d+)?", said)
        assert version is not None, said
        Path(path).write_text(page(rows.values(), f"PostgreSQL {version[0]}"))
