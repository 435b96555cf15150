"""pgjobs retain, and pgjobs apply for what an app retains."""

import json
import sys
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from pgjobs.cli.commands import cli
from pgjobs.cli.retention import COMMANDS

CODE = """
from datetime import timedelta
from pgjobs import App
app = App()
{}
@app.job("report")
async def report(job): ...
"""
WEEK = 'app.retain("completed", timedelta(days=7))'
MONTH = 'app.retain("completed", timedelta(days=30))'
MAIL = 'app.retain("failed", timedelta(days=90), job_type="mail")'


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
    """apply(WEEK, "--dry-run") applies an app that declares this."""
    monkeypatch.chdir(tmp_path)

    def apply(declared, *options):
        (tmp_path / "shop_jobs.py").write_text(CODE.format(declared))
        sys.modules.pop("shop_jobs", None)
        # Two versions may be of the same second and size, so the bytecode would be taken for fresh.
        for cached in tmp_path.glob("__pycache__/*"):
            cached.unlink()
        return run("apply", "shop_jobs:app", *options).splitlines()

    yield apply
    sys.modules.pop("shop_jobs", None)


def test_a_rule_is_set_listed_changed_and_removed(run, rows):
    assert "there is no rule, and ended jobs stay" in run("retain", "list")
    assert run("retain", "set", "completed", "7d") == (
        "completed jobs are deleted 7d0h after their end\n"
    )
    assert run("retain", "set", "failed", "90d", "--type", "mail") == (
        "failed jobs of type mail are deleted 90d0h after their end\n"
    )
    heading, general, of_type = run("retain", "list").splitlines()
    assert heading.split()[:3] == ["status", "type", "keep"]
    assert general.split() == ["completed", "(all", "others)", "7d0h"]
    assert of_type.split() == ["failed", "mail", "90d0h"]
    run("retain", "set", "completed", "1d")
    assert rows("select status, job_type, keep_for::text from jobs_retention order by 1") == [
        ("completed", None, "1 day"), ("failed", "mail", "90 days")
    ]
    assert run("retain", "remove", "failed") == "there is no such rule for failed jobs\n"
    assert run("retain", "remove", "failed", "--type", "mail") == (
        "the rule for failed jobs of type mail is removed\n"
    )
    assert rows("select status from jobs_retention") == [("completed",)]


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["set", "pending", "1d"], 2, "there is no final status pending"),
        (["set", "completed", "soon"], 2, "not a duration"),
        (["set", "completed", "400000d"], 2, "keep_for must be from 0 to 1000 years"),
        (["set", "completed"], 2, "DURATION"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(run, arguments, status, why):
    said = run("retain", *arguments, status=status)
    assert why in said
    assert said.startswith("pgjobs: ")
    assert said.count("\n") == 1


def test_json_is_printed_by_each_command(run):
    assert json.loads(run("retain", "set", "failed", "1h", "--json"))["keep_for"] == 3600
    assert json.loads(run("retain", "list", "--json"))[0]["status"] == "failed"
    assert json.loads(run("retain", "remove", "failed", "--json"))["keep_for"] == 3600
    assert json.loads(run("retain", "remove", "failed", "--json")) is None


def test_what_an_app_retains_is_applied_and_each_change_is_shown(apply, run, rows):
    new = "+ retention of completed: new: keep_for 604800.000000 s, status completed"
    assert apply(WEEK, "--dry-run") == [new, "nothing was changed: --dry-run"]
    assert rows("select from jobs_retention") == []
    assert apply(WEEK) == [new]
    assert apply(WEEK) == ["= retention of completed: as declared"]
    assert apply(MONTH) == [
        "~ retention of completed: changed: keep_for 604800.000000 s → 2592000.000000 s"
    ]
    run("retain", "set", "completed", "1d")
    (line,) = apply(MONTH)
    assert line == ("= retention of completed: as declared"
                    " (was changed by hand: keep_for 720:00:00 → 1 day; that stays)")
    assert rows("select keep_for::text from jobs_retention") == [("1 day",)]


def test_a_rule_that_is_not_declared_any_more_is_removed_by_prune_alone(apply, run, rows):
    apply(f"{WEEK}\n{MAIL}")
    run("retain", "set", "cancelled", "1d")
    assert apply(WEEK) == [
        "= retention of completed: as declared",
        "- retention of failed of mail: not declared any more: --prune removes it",
    ]
    said = json.loads("\n".join(apply(WEEK, "--prune", "--json")))
    assert [(s["name"], s["action"]) for s in said["retention"]] == [
        ("completed", "keep"), ("failed of mail", "remove")
    ]
    assert rows("select status from jobs_retention order by 1") == [("cancelled",), ("completed",)]
    assert run("retain", "remove", "completed").splitlines()[1].startswith("code has declared it")
    assert apply("") == ["shop_jobs:app declares no schedules and no retention and no limits"]


def test_the_help_of_each_command_shows_an_example_and_the_page_describes_it(run):
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    for command in COMMANDS:
        assert f"pgjobs retain {command}" in run("retain", command, "--help")
        assert f"pgjobs retain {command}" in page
    assert "pgjobs retain list" in run("retain", "--help")
