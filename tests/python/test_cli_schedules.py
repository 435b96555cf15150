"""pgjobs schedule and pgjobs apply: what an operator does with schedules."""

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from pgjobs.cli.commands import cli
from pgjobs.cli.schedules import COMMANDS

CODE = """
from datetime import timedelta
from pgjobs import App
app = App()

{}
@app.job("report", queue="slow")
async def report(job): ...
"""
NIGHTLY = '@app.schedule("0 3 * * *", timezone="Europe/Berlin", payload={"days": 1})'
LATER = '@app.schedule("0 4 * * *", timezone="Europe/Berlin", payload={"days": 1})'
WEEKLY = '@app.schedule("@weekly", name="weekly")'


@pytest.fixture
def run(pgjobs_dsn, monkeypatch):
    """Runs a command on this test's database and returns what it printed."""
    monkeypatch.setenv("PGJOBS_DSN", pgjobs_dsn)

    def run(*arguments, status=0):
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == status, result.output
        return result.stdout if status == 0 else result.stderr

    return run


@pytest.fixture
def rows(pgjobs_dsn):
    """rows("select 1") are the rows of a statement."""

    def rows(statement):
        with psycopg.connect(pgjobs_dsn, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return rows


@pytest.fixture
def apply(run, tmp_path, monkeypatch):
    """apply(NIGHTLY, "--dry-run") applies an app whose handler has these decorators."""
    monkeypatch.chdir(tmp_path)

    def apply(decorators, *options):
        (tmp_path / "shop_jobs.py").write_text(CODE.format(decorators))
        sys.modules.pop("shop_jobs", None)
        # Two versions may be of the same second and size, so the bytecode would be taken for fresh.
        for cached in tmp_path.glob("__pycache__/*"):
            cached.unlink()
        return run("apply", "shop_jobs:app", *options).splitlines()

    yield apply
    sys.modules.pop("shop_jobs", None)


def test_a_schedule_is_added_listed_paused_resumed_and_removed(run, rows):
    assert "there are no schedules" in run("schedule", "list")
    said = run("schedule", "add", "nightly", "report", '{"days": 1}', "--cron", "0 3 * * *",
               "--timezone", "Europe/Berlin", "--queue", "slow", "--priority", "2",
               "--max-retries", "0", "--missed", "all", "--missed-within", "2h",
               "--overlap", "replace", "--ends-at", "2100-01-01T00:00+00:00")
    assert re.fullmatch(r"schedule nightly is next due at \S+ \d\d:00:00[+-]\d\d:\d\d\n", said)
    assert rows(
        """select payload, queue, priority, max_retries, missed, missed_within::text, overlap,
        extract(year from ends_at)::int from jobs_schedules"""
    ) == [({"days": 1}, "slow", 2, 0, "all", "02:00:00", "replace", 2100)]
    heading, line = run("schedule", "list").splitlines()
    assert heading.split() == ["name", "when", "type", "next", "zone", "queue"]
    assert "nightly" in line
    assert "0 3 * * *" in line
    assert "Europe/Berlin" in line
    assert run("schedule", "pause", "nightly") == "schedule nightly is paused\n"
    assert "(paused)" in run("schedule", "list")
    assert "is next due at" in run("schedule", "resume", "nightly")
    assert run("schedule", "remove", "nightly") == "schedule nightly is removed\n"
    assert rows("select from jobs_schedules") == []


def test_overdue_and_ended_schedules_and_their_errors_are_shown(run, rows):
    run("schedule", "add", "late", "t", "--every", "90m")
    run("schedule", "add", "over", "t", "--every", "1h")
    rows("update jobs_schedules set next_at = '2020-01-01', error = 'no room' where name = 'late'")
    rows("update jobs_schedules set next_at = null where name = 'over'")
    said = run("schedule", "list")
    assert re.search(r"late +\(overdue\) +every 1h30m ", said)
    assert said.endswith("\nschedule late: no room\n")
    assert re.search(r"over +\(over\)", said)
    assert "has no tick left" in run("schedule", "resume", "over")


def test_a_schedule_is_changed_only_after_a_question(run, rows):
    run("schedule", "add", "nightly", "report", '{"days": 1}', "--every", "1h")
    said = run("schedule", "add", "nightly", "report", "--every", "2h", status=2)
    assert "there is a schedule nightly, and what you do not give gets its default" in said
    run("schedule", "add", "nightly", "report", "--every", "2h", "--yes")
    assert rows("select payload, every::text from jobs_schedules") == [({}, "02:00:00")]


def test_one_job_is_run_now(run, rows):
    run("schedule", "add", "nightly", "report", "--every", "1h")
    run("schedule", "pause", "nightly")
    assert run("schedule", "run", "nightly") == "job 1 is pending in queue default\n"
    assert run("schedule", "run", "nightly") == "job 1 is pending in queue default\n"
    assert json.loads(run("schedule", "run", "nightly", "--json"))["id"] == 1
    assert rows("select count(*) from jobs") == [(1,)]


def test_the_next_five_ticks_are_shown_by_the_clocks_of_the_zone_and_in_utc(run):
    options = ["--cron", "0 3 * * *", "--timezone", "Asia/Kathmandu"]
    heading, *lines = run("schedule", "preview", *options).splitlines()
    assert heading.split() == ["local", "time", "UTC"]
    assert len(lines) == 5
    assert all(re.search(r"\w{3} \S+ 03:00:00 +\w{3} \S+ 21:15:00$", line) for line in lines)
    run("schedule", "add", "nightly", "report", *options)
    assert run("schedule", "preview", "nightly").splitlines() == [heading, *lines]
    rows = json.loads(run("schedule", "preview", "nightly", "--json"))
    assert datetime.fromisoformat(rows[0]["at"]) > datetime.now(UTC)
    assert run("schedule", "preview", "--cron", "0 0 30 2 *") == "no tick is left\n"


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["remove", "nobody"], 1, "no schedule nobody (pgjobs schedule list shows all of them.)\n"),
        (["run", "nobody"], 1, "there is no schedule nobody"),
        (["add", "a", "t"], 2, "either cron or every"),
        (["add", "a", "t", "--cron", "* * *"], 2, "five fields"),
        (["add", "a", "t", "--every", "soon"], 2, "not a duration"),
        (["add", "a", "t", "{bad", "--every", "1h"], 2, "not JSON"),
        (["add", "a", "t", "--every", "1h", "--missed", "some"], 2, "there is no choice some"),
        (["preview", "nightly", "--cron", "@daily"], 2, "not both"),
        (["preview"], 2, "either cron or every"),
        (["preview", "--cron", "@daily", "--timezone", "Atlantis"], 2, "Atlantis is not known"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(run, arguments, status, why):
    said = run("schedule", *arguments, status=status)
    assert why in said
    assert said.startswith("pgjobs: ")
    assert said.count("\n") == 1


def test_json_is_printed_by_each_command(run):
    add = ["schedule", "add", "a", "t", "--every", "1h", "--json"]
    assert json.loads(run(*add))["name"] == "a"
    assert json.loads(run("schedule", "list", "--json"))[0]["every"] == 3600
    assert json.loads(run("schedule", "pause", "a", "--json"))["paused_at"]
    assert json.loads(run("schedule", "resume", "a", "--json"))["paused_at"] is None
    assert json.loads(run("schedule", "remove", "a", "--json"))["name"] == "a"


def test_an_app_is_applied_and_each_change_is_shown(apply, run, rows):
    new = (
        '+ report: new: cron 0 3 * * *, job_type report, payload {"days": 1}, queue slow,'
        " timezone Europe/Berlin"
    )
    assert apply(NIGHTLY, "--dry-run") == [new, "nothing was changed: --dry-run"]
    assert rows("select from jobs_schedules") == []
    assert apply(NIGHTLY) == [new]
    assert apply(NIGHTLY) == ["= report: as declared"]
    assert apply(LATER) == ["~ report: changed: cron 0 3 * * * → 0 4 * * *"]
    # It is the operator who says which code is the newest.
    assert apply(NIGHTLY) == ["~ report: changed: cron 0 4 * * * → 0 3 * * *"]
    assert rows("select cron from jobs_schedules") == [("0 3 * * *",)]
    run("schedule", "pause", "report")
    assert apply(NIGHTLY) == [
        "= report: as declared (was changed by hand: paused false → true; that stays)"
    ]
    assert "(was changed by hand: paused false → true)" in apply(LATER)[0]
    assert rows("select cron, paused_at is null from jobs_schedules") == [("0 4 * * *", False)]


def test_what_is_not_declared_any_more_is_removed_by_prune_alone(apply, run, rows):
    apply(f"{WEEKLY}\n{NIGHTLY}")
    run("schedule", "add", "by hand", "t", "--every", "1h")
    assert apply(NIGHTLY) == [
        "= report: as declared", "- weekly: not declared any more: --prune removes it"
    ]
    assert "- weekly: removed" in apply(NIGHTLY, "--prune", "--dry-run")
    assert rows("select count(*) from jobs_schedules") == [(3,)]
    said = json.loads("\n".join(apply(NIGHTLY, "--prune", "--json")))
    assert [(s["name"], s["action"]) for s in said["schedules"]] == [
        ("report", "keep"), ("weekly", "remove")
    ]
    assert rows("select name from jobs_schedules order by 1") == [("by hand",), ("report",)]
    assert apply("") == ["- report: not declared any more: --prune removes it"]
    assert run("schedule", "remove", "report").splitlines()[1].startswith("code has declared it")
    assert apply("") == ["shop_jobs:app declares no schedules and no retention and no limits"]


def test_the_help_of_each_command_shows_an_example_and_the_page_describes_it(run):
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    for command in COMMANDS:
        assert f"pgjobs schedule {command}" in run("schedule", command, "--help")
        assert f"pgjobs schedule {command}" in page
    assert "pgjobs schedule list" in run("schedule", "--help")
