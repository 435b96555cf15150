"""pgjobs limit, and pgjobs apply for the limits of an app."""

import json
import sys

import psycopg
import pytest
from typer.testing import CliRunner

from pgjobs.cli.commands import cli

CODE = """
from datetime import timedelta
from pgjobs import App, Rate
app = App()
{}
@app.job("report")
async def report(job): ...
"""
FIVE = 'app.limit("mail", max_running=5, rate=Rate(100, per=timedelta(minutes=1)))'
SIX = 'app.limit("mail", max_running=6, rate=Rate(100, per=timedelta(minutes=1)))'


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
    """apply(FIVE, "--dry-run") applies an app that declares this."""
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


def test_only_what_is_named_is_changed_and_none_removes(run):
    assert run("limit") == "no queue has limits: set one by pgjobs limit QUEUE, or by app.limit\n"
    assert run("limit", "mail") == "queue mail: no limits\n"
    said = run("limit", "mail", "--max-running", "5", "--rate", "100/1m", "--group-rate", "2/s")
    assert said == "queue mail: 5 running, 100 starts in 1m, 2 starts per group in 1s\n"
    said = run("limit", "mail", "--rate", "none", "--in-order")
    assert said == (
        "queue mail: 5 running, 1 running per group, 2 starts per group in 1s, in order\n"
    )
    said = run("limit", "mail", "--no-order", "--max-running-per-group", "none",
               "--max-running", "0")
    assert said == "queue mail: 0 running, 2 starts per group in 1s\n"
    assert run("limit", "mail") == said
    run("limit", "api", "--rate", "10/min")
    assert run("limit").splitlines() == ["queue api: 10 starts in 1m", said.strip()]


def test_a_pause_stays_when_a_limit_is_changed(run, rows):
    run("pause", "mail", "--yes")
    run("limit", "mail", "--max-running", "5")
    assert rows("select paused_at is not null, max_running from jobs_queues") == [(True, 5)]
    run("limit", "mail", "--max-running", "none")
    assert rows("select paused_at is not null, max_running from jobs_queues") == [(True, None)]


def test_json_is_printed(run):
    assert json.loads(run("limit", "--json")) == []
    assert json.loads(run("limit", "mail", "--json")) == {"queue": "mail"}
    said = json.loads(run("limit", "mail", "--rate", "100/1m", "--json"))
    assert (said["rate_count"], said["rate_period"], said["max_running"]) == (100, 60, None)
    assert json.loads(run("limit", "--json"))[0]["queue"] == "mail"
    assert json.loads(run("limit", "mail", "--json"))["is_declared"] is False


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["mail", "--rate", "100"], 2, "not a rate: write it like 100/1m, or none"),
        (["mail", "--rate", "100/soon"], 2, "not a duration"),
        (["mail", "--rate", "0/1m"], 2, "too small"),
        (["mail", "--max-running", "-1"], 2, "too small"),
        (["mail", "--max-running", "many"], 2, "not a whole number"),
        (["mail", "--rate", "1/500d"], 2, "rate_period must be from 10 ms to 366 days"),
        (["--rate", "1/m"], 2, "give the QUEUE"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(run, arguments, status, why):
    said = run("limit", *arguments, status=status)
    assert why in said
    assert said.startswith("pgjobs: ")
    assert said.count("\n") == 1


def test_the_limits_of_an_app_are_applied_and_each_change_is_shown(apply, run, rows):
    new = "+ limit of queue mail: new: max_running 5, rate_count 100, rate_period 60.000000 s"
    assert apply(FIVE, "--dry-run") == [new, "nothing was changed: --dry-run"]
    assert rows("select from jobs_queues") == []
    assert apply(FIVE) == [new]
    assert apply(FIVE) == ["= limit of queue mail: as declared"]
    assert apply(SIX) == ["~ limit of queue mail: changed: max_running 5 → 6"]
    run("limit", "mail", "--max-running", "1")
    assert apply(SIX) == [
        "= limit of queue mail: as declared (was changed by hand: max_running 6 → 1; that stays)"
    ]
    (line,) = apply("")
    assert line.startswith("- limit of queue mail: not declared any more: --prune removes it")
    said = json.loads("\n".join(apply("", "--prune", "--json")))
    assert [(s["name"], s["action"]) for s in said["limits"]] == [("mail", "remove")]
    assert run("limit", "mail") == "queue mail: no limits\n"
    assert apply("") == ["shop_jobs:app declares no schedules and no retention and no limits"]


GROUPED = """insert into jobs (queue, job_type, group_key)
    values ('mail', 't', 'a'), ('mail', 't', 'a'), ('mail', 't', 'b'), ('other', 't', null)"""


def test_list_shows_the_jobs_of_a_group_and_why_they_wait(run, rows):
    rows("select jobs_limit('mail', max_running_per_group => 1)")
    rows(f"{GROUPED} returning id")
    listed = run("list", "--group", "a")
    assert listed.splitlines()[0].split() == [
        "id", "queue", "type", "status", "retry", "age", "group"]
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["2", "1"]
    rows("select id from jobs_claim('w', '{mail}', 9)")
    assert run("list", "--status", "pending").splitlines()[-1] == "queue mail, group a: 1 of 1 run"
    assert [job["id"] for job in json.loads(
        run("list", "--group", "a", "--status", "processing", "--status", "pending", "--json"))
    ] == [2, 1]
    assert "group_key     a" in run("show", "1")
    # A queue without groups has no such column.
    assert "group" not in run("list", "--queue", "other")


def test_list_names_the_job_whose_retry_a_group_waits_for(run, rows):
    rows("select jobs_limit('mail', in_order => true)")
    rows(f"{GROUPED} returning id")
    rows("select id from jobs_claim('w', '{mail}', 9)")
    rows("select id from jobs_fail(1, 'no', retry_in => '1 hour')")
    assert run("list", "--group", "a", "--status", "pending").splitlines()[-1] == (
        "queue mail, group a: waits for the retry of job 1")


def test_top_and_stats_show_queues_at_their_limit_and_what_is_throttled(run, rows):
    rows("select jobs_limit('mail', max_running => 1, rate_count => 9, rate_period => '1 min')")
    rows(f"{GROUPED} returning id")
    assert "at limit" not in run("top", "--once")
    rows("select id from jobs_claim('w', '{mail}', 9)")
    shown = run("top", "--once")
    assert "at limit    mail: 1 of 1 run" in shown
    assert "1 due, 2 throttled" in shown
    rows("select jobs_limit('mail', rate_count => 1, rate_period => '1 min')")
    assert "mail: rate 1 per 00:01:00 used up, next in 00:0" in run("top", "--once")
    limited = json.loads(run("top", "--once", "--json"))["limited"]
    assert [row["queue"] for row in limited] == ["mail"]
    states = {row["state"]: row["count"] for row in json.loads(run("stats", "--json"))
              if row["queue"] == "mail"}
    assert states == {"processing": 1, "throttled": 2}
    assert "throttled" in run("stats").splitlines()[0]
