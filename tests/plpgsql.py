"""Checks the functions by plpgsql_check, if this machine has the extension: `make check`."""

import subprocess
import sys
from pathlib import Path

from versions import ROOT, VERSIONS, on_the_machine

TEST = "tests/sql/test_plpgsql_check.py"


def main() -> int:
    for version in reversed(VERSIONS):
        programs = on_the_machine(version)
        if programs is not None and has_extension(programs, version):
            print(f"plpgsql_check on PostgreSQL {version}: {programs}", flush=True)
            command = [sys.executable, "-m", "pytest", "-q", f"--pg-bin={programs}", TEST]
            return subprocess.run(command, check=False, cwd=ROOT).returncode
    print(
        "plpgsql_check: left out, no PostgreSQL on this machine has the extension"
        " (on Debian: postgresql-15-plpgsql-check, beside postgresql-15)"
    )
    return 0


def has_extension(programs: Path, version: int) -> bool:
    # Debian keeps extensions in a folder of their own; other packages keep them by the programs.
    folders = [Path(f"/usr/share/postgresql/{version}"), *programs.parent.glob("share*")]
    return any(next(folder.rglob("plpgsql_check.control"), None) for folder in folders)


if __name__ == "__main__":
    sys.exit(main())
