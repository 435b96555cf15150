"""The demo, as somebody who has just cloned the project sees it."""

import re
import subprocess
import sys
from pathlib import Path


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pgjobs.cli", "demo", *arguments],
        check=False, capture_output=True, text=True, timeout=120,
        cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_the_demo_ingests_the_documentation_and_ends_by_itself() -> None:
    done = demo()
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(\w+)\s+(\d+)\s*(\d*)\s*$", done.stdout, re.MULTILINE)
    ended = {job_type: (completed, failed) for job_type, completed, failed in rows}
    assert ended["file_ingestion"][1] == "1"
    assert ended["embedding_generation"] == ended["vector_storage"]
    assert int(ended["vector_storage"][0]) > 0
    assert ended["cleanup"] == ("1", "")
    assert "failed after 3 attempts: UnicodeDecodeError" in done.stdout
    assert done.stdout.count(" -c ") == 3


def test_the_demo_takes_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("One paragraph.\n\nAnother one.\n")
    done = demo(str(tmp_path), "--once")
    assert done.returncode == 0, done.stderr
    assert "Ingesting files: 1" in done.stdout


def test_a_folder_without_text_is_a_readable_error(tmp_path: Path) -> None:
    done = demo(str(tmp_path))
    assert done.returncode != 0
    assert "there are no .md, .txt or .rst files in" in done.stderr
    assert "Traceback" not in done.stderr
