"""docs/python.md#testing: its files, as they are written, are tests that pass."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/python.md"


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    section = PAGE.read_text().partition("\n## Testing\n")[2].partition("\n## ")[0]
    files = re.findall(r"^```\w+\n# (\S+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == ["pyproject.toml", "test_calls.py"]
    for name, text in files:
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, check=False, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
