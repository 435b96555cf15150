"""The guide to troubleshooting has a section for each check of the doctor, and each reason."""

import re

import asyncpg
from end_to_end.blocks import ROOT

PAGE = ROOT / "docs" / "guides" / "troubleshooting.md"
FOLDER = ROOT / "sql" / "functions" / "doctor"
# The heads of the tables, and the file that gives the reasons.
TABLES = {
    "A pending job": "_jobs_why_pending.sql",
    "A blocked job": "_jobs_why_blocked.sql",
    "A job that runs and does not end": "_jobs_why_processing.sql",
    "A job that has ended": "_jobs_why_ended.sql",
}


def part(heading: str, marks: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    text = PAGE.read_text()
    found = re.search(rf"^{marks} {heading}\n(.*?)(?=^#{{2,{len(marks)}}} |\Z)", text,
                      re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


async def test_each_check_of_the_doctor_has_its_section_in_the_order_of_the_doctor(
    conn: asyncpg.Connection,
) -> None:
    checks = [row["check_name"] for row in await conn.fetch("select check_name from jobs_doctor()")]
    assert re.findall("^### (.+)$", part("The doctor's checks", "##"), re.MULTILINE) == checks


def test_each_reason_of_jobs_why_stands_in_the_table_of_its_status() -> None:
    for heading, name in TABLES.items():
        told = re.findall(r"^\| `([a-z ]+)` \|", part(heading, "###"), re.MULTILINE)
        assert sorted(told) == sorted(_reasons((FOLDER / name).read_text())), heading


def test_the_reference_lists_the_same_reasons() -> None:
    reference = (ROOT / "docs" / "sql.md").read_text()
    section = re.search(r"^## jobs_why\n(.*?)^## ", reference, re.MULTILINE | re.DOTALL)
    assert section is not None
    listed = {
        reason for row in re.findall(r"^\| (`.*?) \|", section[1], re.MULTILINE)
        for reason in re.findall(r"`([a-z ]+)`", row)
    }
    text = PAGE.read_text().partition("## My job does not run")[2]
    assert listed == set(re.findall(r"^\| `([a-z ]+)` \|", text, re.MULTILINE))


def _reasons(function: str) -> list[str]:
    """The texts that stand for the column ``reason``: after a rank and its condition."""
    if "select job.status," in function:
        # It has ended, and its status is the reason.
        held = re.findall(r"^select '([a-z ]+)'", function, re.MULTILINE)
        return [*held, "completed", "failed", "cancelled"]
    rows = re.split(r"^\s+\(\d+, ", function, flags=re.MULTILINE)[1:]
    found = [re.search(r"'([a-z ]+)',", _without_conditions(row)) for row in rows]
    return [match[1] for match in found if match is not None]


def _without_conditions(row: str) -> str:
    """A condition compares with texts; a reason is followed by a comma and the detail."""
    return re.sub(r"(=|<>|like) '[^']*'", "", row)
