"""What is published: a wheel and an sdist, each with the SQL files."""

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from pgjobs.schema.migrate import script

ROOT = Path(__file__).parents[2]
WEB_FILES = {
    path.relative_to(ROOT).as_posix()
    for folder in ("templates", "static")
    for path in (ROOT / "pgjobs/web" / folder).iterdir()
}
SQL_FILES = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sql").rglob("*.sql")}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True, capture_output=True, text=True,
    )
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel installed."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    new = folder / "bin" / "python"
    subprocess.run(
        [str(new), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--disable-pip-version-check", str(wheel)],
        check=True,
    )
    # The dependencies come from the environment of the tests, after the wheel on the path.
    site = subprocess.run(
        [str(new), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return new


def test_the_wheel_holds_the_sql_inside_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"pgjobs/{name}" for name in SQL_FILES} <= names
    assert names >= WEB_FILES
    assert "pgjobs/py.typed" in names
    # No other top-level name: "sql" or "tests" would clash with other packages.
    assert {name.split("/")[0] for name in names} == {
        "pgjobs", f"{wheel.name.rsplit('-', 3)[0]}.dist-info"
    }


def test_the_sdist_holds_the_sql_and_the_tests(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert names >= SQL_FILES
    assert names >= {"tests/conftest.py", "Makefile", "LICENSE", "README.md"}


def test_the_installed_package_prints_the_script(python: Path, tmp_path: Path) -> None:
    command = python.with_name("pgjobs")
    assert command.exists()
    done = subprocess.run(
        [command, "sql"], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == script().strip()


def test_the_installed_package_migrates(python: Path, tmp_path: Path, empty_dsn: str) -> None:
    program = (
        "import sys; from pgjobs.schema.migrate import migrate, sql_folder;"
        " print(sql_folder()); print(migrate(sys.argv[1]))"
    )
    done = subprocess.run(
        [str(python), "-c", program, empty_dsn],
        check=False, capture_output=True, text=True, cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    folder, applied = done.stdout.splitlines()
    assert Path(folder).is_relative_to(python.parents[1])
    assert applied == "['0001_jobs']"


def test_pytest_finds_the_plugin(python: Path, tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "import psycopg\n\n\n"
        "def test_it(pgjobs_dsn):\n"
        "    with psycopg.connect(pgjobs_dsn) as connection:\n"
        "        connection.execute(\"select from jobs_enqueue('a')\")\n"
    )
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        check=False, capture_output=True, text=True, cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_compose_file_can_be_read() -> None:
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services["postgres"]["image"] == "postgres:18"
    assert "pgjobs worker" in services["worker"]["command"][-1]
    assert set(services["worker"]["depends_on"]) <= set(services)
