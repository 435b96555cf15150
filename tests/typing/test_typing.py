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


def test_mypy_takes_what_it_should_and_refuses_what_it_should() -> None:
    check(sys.executable, "-m", "mypy", "--strict", str(API))


def test_pyright_does_too(tmp_path: Path) -> None:
    program = shutil.which("pyright", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("no pyright beside this Python")
    # The marks for mypy are not to count, and one that is not needed is an error.
    settings = {
        "include": [str(API)], "extraPaths": [str(ROOT)], "enableTypeIgnoreComments": False,
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    check(program, "--pythonpath", sys.executable, "--project", str(config))
