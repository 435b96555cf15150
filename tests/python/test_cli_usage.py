"""Wrong arguments, failures, the help, and the commands that install."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from pgjobs.cli.commands import cli
from pgjobs.cli.options import duration
from pgjobs.schema.migrate import script

Run = Callable[..., Result]


@pytest.fixture
def run(pgjobs_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on this test's database and asserts its exit status."""
    monkeypatch.setenv("PGJOBS_DSN", pgjobs_dsn)

    def run(*arguments: str, status: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(cli, arguments, input=stdin)
        assert result.exit_code == status, result.output
        return result

    return run


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["enqueue", "a", "{bad"], "not JSON"),
        (["enqueue", "a", "[NaN]"], "NaN is not a JSON number"),
        (["enqueue", "a", "--priority", "12"], "priority must be from -9 to 9"),
        (["enqueue", "a", "--delay", "soon"], "not a duration"),
        (["enqueue", "a", "--run-at", "2030-01-31T08:00"], "time zone"),
        (["enqueue", "a", "--run-at", "2030-01-31T08:00+01:00", "--delay", "1s"], "not both"),
        (["enqueue", "a", "--reference", "42"], "not a reference"),
        (["enqueue"], "missing argument 'TYPE': see "),
        (["show", "abc"], "'abc' is not the id of a job: pgjobs list shows the ids"),
        (["show", "99999999999999999999"], "is not the id of a job"),
        (["cancel", "1", "0"], "'0' is not the id of a job"),
        (["list", "--limit", "many"], "--limit: 'many' is not a whole number"),
        (["list", "--limit", "0"], "--limit: 0 is too small: the least is 1"),
        (["list", "--jsno"], "no such option: --jsno (Possible options: --json): see "),
        (["list", "--since", "2h"], "no such option: --since: see "),
        (["retry", "--failed", "--since", "5"], "--since: '5' has no unit: write it like 90s, 10m"),
        (["retry", "--failed", "--since", "2026-01-01"], "write it like 90s, 10m, 1h30m or 7d"),
        (["cleanup", "--older-than", "30"], "--older-than: '30' has no unit"),
        (["--jsno"], "no such option: --jsno"),
        (["enqueue", "a", "--unique-scope", "livee"], "there is no scope livee: choose of live, k"),
        (["worker", "a:b", "--log-format", "xml"], "there is no format xml: choose of text, json"),
        (["worker", "a:b", "--log-level", "loud"], "there is no level loud: choose of debug, info"),
        (["pause", "nope"], "no job is in queue nope, and no worker serves it: give --yes"),
        (["resume", "nope"], "no job is in queue nope, and no worker serves it: give --yes"),
        (["retry"], "--failed"),
        (["retry", "1", "--failed"], "--failed"),
        (["retry", "1", "--since", "1h"], "--failed"),
        (["cleanup", "--status", "pending"], "statuses must be"),
        (["grant", "nobody", "king"], "there is no set of rights king: choose of producer, worker"),
        (["grant", "nobody_of_that_name", "producer"], "there is no role"),
        (["worker", "nonsense"], "MODULE:APP"),
        (["list", "--status", "nonsense"], "there is no status nonsense"),
        (["migrate", "--down", "1"], "--yes"),
        (["list", "--dsn", "mysql://root:s3kr1t@host/db"], "not PostgreSQL"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_arguments_exit_with_2(run: Run, arguments: list[str], why: str) -> None:
    said = run(*arguments, status=2)
    assert said.stdout == ""
    assert said.stderr.startswith("pgjobs: ")
    assert said.stderr.count("\n") == 1
    assert why in said.stderr
    assert "Input should" not in said.stderr
    assert "Value error" not in said.stderr
    assert "s3kr1t" not in said.output
    assert "Traceback" not in said.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["show", "7"], "there is no job 7: pgjobs list shows which there are"),
        (["cancel", "7"], "there is no job 7: pgjobs list shows which there are"),
        (["retry", "7"], "there is no job 7: pgjobs list shows which there are"),
        (["list", "--schema", "elsewhere"], "pgjobs migrate"),
        (["stats", "--schema", "elsewhere"], "pgjobs migrate"),
        (["doctor", "--schema", "elsewhere"], "pgjobs migrate"),
        (["enqueue", "a", "--schema", "elsewhere"], "pgjobs migrate --schema elsewhere"),
        (["top", "--once", "--schema", "elsewhere"], "pgjobs migrate"),
    ],
)
def test_a_failure_exits_with_1_and_one_line(run: Run, arguments: list[str], why: str) -> None:
    said = run(*arguments, status=1)
    assert said.stdout == ""
    assert said.stderr.startswith("pgjobs: ")
    assert said.stderr.count("\n") == 1
    assert why in said.stderr


def test_migrate_installs_and_rolls_back(empty_dsn: str, run: Run) -> None:
    said = run("migrate", "--dsn", empty_dsn, "--schema", "queue")
    assert said.stdout == "applied 0001_jobs\nschema queue is up to date, pgjobs 0.1.0\n"
    said = run("migrate", "--dsn", empty_dsn, "--schema", "queue")
    assert said.stdout == "schema queue is up to date, pgjobs 0.1.0\n"
    run("enqueue", "a", "--dsn", empty_dsn, "--schema", "queue")
    said = run("migrate", "--dsn", empty_dsn, "--schema", "queue", "--down", "1", "--yes")
    assert said.stdout == "rolled back 0001_jobs\n"
    said = run("migrate", "--dsn", empty_dsn, "--schema", "queue", "--down", "1", "--yes")
    assert said.stdout == "nothing to roll back in schema queue\n"
    run("migrate", "--dsn", empty_dsn, "--schema", "x" * 59, status=2)


def test_sql_prints_the_whole_script(run: Run) -> None:
    assert run("sql").stdout == script()


@pytest.mark.parametrize("command", [[], *([c.name] for c in cli.registered_commands)])
def test_the_help_of_every_command_shows_an_example(run: Run, command: list[str]) -> None:
    said = run(*command, "--help").stdout
    assert "Usage: pgjobs" in said or "Usage: root" in said
    assert f"pgjobs {command[0] if command else 'migrate'}" in said


@pytest.mark.parametrize("command", [[], *([c.name] for c in cli.registered_commands)])
def test_the_help_shows_flags_as_flags_and_no_types_of_python(
    run: Run, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    said = run(*command, "--help").stdout
    assert not re.search(r"<(bool|int|str|path|list)|x>=", said)
    # A paragraph breaks where the terminal ends, and not where a line of its source does.
    prose = "\n".join(line.strip() for line in said.partition("╭")[0].splitlines())
    assert not re.search(r"\S\n\S", prose)


EVERY_COMMAND = [
    *([c.name] for c in cli.registered_commands),
    *([g.name, c.name] for g in cli.registered_groups
      for c in g.typer_instance.registered_commands),
]


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=" ".join)
def test_the_help_folds_no_word_at_80_columns(
    run: Run, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def words(columns: int) -> set[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        _, _, options = run(*command, "--help").stdout.partition("╭")
        return {*re.findall(r"[^\s╭╮╰╯─│]+", options)}

    assert words(500) <= words(80)


def test_every_command_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    headings = {line.removeprefix("## pgjobs ") for line in page.splitlines()}
    assert {command.name for command in cli.registered_commands} <= headings


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1h30m", 5_400), ("500ms", 0.5), ("30 days", 2_592_000),
     ("1 hour 5 minutes", 3_900), ("2 weeks", 1_209_600), ("1.5 min", 90)],
)
def test_a_duration_is_read_as_people_and_postgresql_write_it(text, seconds):
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["30 dayss", "days", "1 h 5", "5 monthes", "1x", ""])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(typer.BadParameter, match="is not a duration"):
        duration(text)


def test_the_command_tells_its_version():
    assert re.fullmatch(r"pgjobs \d+\.\d+\.\d+\n", CliRunner().invoke(cli, ["--version"]).stdout)
