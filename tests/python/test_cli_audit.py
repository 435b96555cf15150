"""pgjobs audit: who has changed what."""

import json

import psycopg
import pytest
from typer.testing import CliRunner

from pgjobs.cli import audit
from pgjobs.cli.commands import cli


@pytest.fixture
def run(pgjobs_dsn, monkeypatch):
    """Runs a command on this test's database and returns what it printed."""
    monkeypatch.setenv("PGJOBS_DSN", pgjobs_dsn)
    monkeypatch.delenv("PGJOBS_ACTOR", raising=False)

    def run(*arguments, status=0):
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == status, result.output
        return result.stdout + result.stderr

    return run


@pytest.fixture
def database(pgjobs_dsn):
    with psycopg.connect(pgjobs_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def actions(run):
    """The actions that the command lists."""
    return lambda *options: [row["action"] for row in json.loads(run("audit", "--json", *options))]


def test_who_has_changed_what_is_listed_the_newest_first(run, monkeypatch):
    run("enqueue", "t")
    monkeypatch.setenv("PGJOBS_ACTOR", "anna")
    run("cancel", "1", "--reason", "wrong order")
    monkeypatch.setenv("PGJOBS_ACTOR", "")
    run("edit", "1", "--priority", "1", status=1)
    run("pause", "default", "--reason", "the mail server moves")
    lines = [line.split() for line in run("audit").splitlines()]
    assert lines[0] == ["id", "age", "by", "action", "jobs", "what", "at"]
    assert [line[0] for line in lines[1:]] == ["2", "1"]
    text = run("audit")
    assert "queue default: the mail server moves" in text
    assert "job 1: wrong order" in text
    assert lines[2][2:5] == ["anna", "cancel", "1"]
    assert lines[1][2:4] == ["postgres", "pause"]


def test_json_has_all_of_a_row(run):
    run("pause", "q", "--yes", "--for", "2h", "--reason", "why")
    (row,) = json.loads(run("audit", "--json"))
    assert row["filters"]["queue"] == "q"
    assert {name: row[name] for name in ("id", "db_role", "set_role", "actor", "reason")} == {
        "id": 1, "db_role": "postgres", "set_role": None, "actor": None, "reason": "why",
    }
    assert row["age"] < 60
    assert row["at"].startswith("20")


def test_it_is_narrowed_by_action_user_role_job_and_age(run, actions, database, monkeypatch):
    run("enqueue", "t")
    run("pause", "default")
    monkeypatch.setenv("PGJOBS_ACTOR", "anna")
    run("resume", "default")
    run("cancel", "1")
    assert actions() == ["cancel", "resume", "pause"]
    assert actions("--action", "pause", "-a", "resume") == ["resume", "pause"]
    assert actions("--by", "anna") == ["cancel", "resume"]
    assert actions("--by", "postgres") == ["cancel", "resume", "pause"]
    assert actions("--by", "nobody") == []
    assert actions("--job", "1") == ["cancel"]
    assert actions("-n", "1") == ["cancel"]
    assert actions("-n", "1", "--before", "3") == ["resume"]
    database.execute("update jobs_audit set at = at - interval '3 hours' where id < 3")
    assert actions("--since", "2h") == ["cancel"]
    assert "no unit" in run("audit", "--since", "2", status=2)
    assert run("audit", "--by", "nobody") == "no such calls\n"


def test_a_search_that_finds_too_little_says_how_far_it_looked(run, actions, monkeypatch):
    for _ in range(5):
        run("pause", "q", "--yes")
    monkeypatch.setattr(audit, "MAX_READ_ROWS", 3)
    told = run("audit", "--by", "nobody")
    assert told == "no such calls so far\npgjobs: looked through 3 rows; for more: --before 3\n"
    assert run("audit", "--by", "nobody", "--before", "3") == "no such calls\n"
    assert actions("-n", "3", "--by", "postgres") == ["pause"] * 3


def test_a_name_that_would_move_the_cursor_is_printed_harmlessly(run, database):
    database.execute("select from jobs_pause('q', reason => E'\\x1b[2J' || chr(8238))")
    database.execute("update jobs_audit set actor = E'\\x1b[31m' || chr(8238) || '[bold]x'")
    text = run("audit")
    assert "\x1b" not in text
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in text
    assert "[bold]x" in text


def test_without_the_right_to_read_it_one_line_says_so(run, database, pgjobs_dsn):
    database.execute("create role audit_stranger login")
    try:
        dsn = psycopg.conninfo.make_conninfo(pgjobs_dsn, user="audit_stranger")
        assert "permission denied" in run("audit", "--dsn", dsn, status=1)
    finally:
        database.execute("drop owned by audit_stranger; drop role audit_stranger")
