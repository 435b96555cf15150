import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

API = Path(__file__).with_name("api.py")
ROOT = API.parents[2]


def check(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_refuses_exactly_the_marked_lines() -> None:
    check(sys.executable, "-m", "mypy", "--strict", str(API))


def test_pyright_refuses_exactly_the_marked_lines(tmp_path: Path) -> None:
    program = shutil.which("pyright", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("no pyright beside this Python")
    # pyright must ignore the marks for mypy, and must refuse a mark that is not needed.
    settings = {
        "include": [str(API)], "extraPaths": [str(ROOT)], "enableTypeIgnoreComments": False,
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    check(program, "--pythonpath", sys.executable, "--project", str(config))
