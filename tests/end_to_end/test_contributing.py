"""CONTRIBUTING.md says where a new thing goes, and names every such place."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
ENTRIES = re.findall(r"^\d+\. (`[^:]+`):", PAGE, re.MULTILINE)
PLACES = [place for entry in ENTRIES for place in re.findall(r"`([^`]+)`", entry)]
OPTIONS = {
    "queue", "priority", "run_at", "reference_type", "reference_id", "max_retries", "unique_key",
    "unique_scope", "backoff", "reference_key",
}
# A file that lists columns, and a list that `make contents` writes.
NOT_OF_OPTIONS = {
    "sql/migrations/0001_jobs.sql", "pgjobs/job/job.py", "pgjobs/database/statements.py",
    "sql/install/signatures.sql",
    # It passes null for what it does not change.
    "sql/functions/manage/jobs_edit_many.sql",
}


def test_an_option_of_enqueue_goes_to_at_most_eight_places() -> None:
    assert 0 < len(ENTRIES) <= 8
    assert [place for place in PLACES if not (ROOT / place).is_file()] == []


def test_every_file_that_lists_the_options_of_enqueue_is_named() -> None:
    listing = {
        path.relative_to(ROOT).as_posix()
        for folder, kind in (("pgjobs", "*.py"), ("sql", "*.sql"), ("docs", "*.md"))
        for path in (ROOT / folder).rglob(kind)
        # A list that lacks some option is one that a new option may skip, as the command line's.
        if set(re.findall(r"\w+", path.read_text())) >= OPTIONS
    }
    assert listing - NOT_OF_OPTIONS <= set(PLACES)
    assert len(listing) >= 8


def test_every_path_that_the_page_names_is_there() -> None:
    paths = re.findall(r"`((?:sql|pgjobs|tests|docs)/[\w/.]+)`", PAGE)
    assert [path for path in paths if not (ROOT / path).exists()] == []
