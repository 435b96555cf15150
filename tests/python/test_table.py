"""Tables fit the terminal: what goes, what is shortened, and what never is."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from pgjobs.cli import table as tables
from pgjobs.cli.output import told_duration
from pgjobs.cli.table import shortened, table

Render = Callable[..., list[str]]
COLUMNS = ">id queue !type !status >prio >tries >age worker reference ~error"
STATUSES = ["pending", "processing", "completed", "failed", "cancelled"]


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch) -> Render:
    """Renders a table on a terminal of that width, and checks that nothing is wider."""

    def render(width: int, columns: str, rows: list[list[object]], **options: bool) -> list[str]:
        console = Console(width=width, force_terminal=False, markup=False, highlight=False)
        monkeypatch.setattr(tables, "console", lambda: console)
        with console.capture() as captured:
            console.print(table(columns, rows, **options))
        lines = captured.get().splitlines()
        assert max(map(cell_len, lines)) <= width
        return [line.rstrip() for line in lines]

    return render


def rows(name: str = "send_receipt", number: int = 30) -> list[list[object]]:
    return [
        [n, "default", name, STATUSES[n % 5], 0, "1/6", timedelta(seconds=n),
         f"web-7f9c5d-4711-{n:04}", f"order:{4700 + n}", f"ValueError: there is no order {n}"]
        for n in range(1, number + 1)
    ]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_each_row_is_one_line_and_its_status_and_type_are_whole(
    render: Render, width: int
) -> None:
    lines = render(width, COLUMNS, rows())
    assert len(lines) == 31
    for n, line in enumerate(lines[1:], 1):
        assert line.split()[:4] == [str(n), "default", "send_receipt", STATUSES[n % 5]]


def test_columns_that_are_empty_or_zero_throughout_go(render: Render) -> None:
    given = [[1, 0, None, "", "0/4"], [2, 0, None, "", "0/4"]]
    assert render(80, ">id >prio worker error tries", given) == ["id  tries", " 1  0/4", " 2  0/4"]
    given[0][1] = 5
    assert render(80, ">id >prio worker error tries", given) == [
        "id  prio  tries", " 1     5  0/4", " 2     0  0/4",
    ]


def test_the_last_columns_go_and_are_named_where_there_is_no_room(render: Render) -> None:
    lines = render(40, COLUMNS, rows())
    assert lines[0].split() == ["id", "queue", "type", "status", "tries"]
    assert " ".join(lines[-2:]).endswith("no room for: age, worker, reference, error")


def test_names_keep_both_ends_and_prose_keeps_its_beginning() -> None:
    assert shortened("web-7f9c5d-4711-a83f", 10, in_middle=True) == "web-7…a83f"
    assert shortened("ValueError: no such file", 12, in_middle=False) == "ValueError:…"
    assert shortened("two\nlines", 20, in_middle=False) == "two lines"


@pytest.mark.parametrize(
    "text", ["資料の取り込み処理ジョブ", "Jürgen Müller-Lüdenscheidt 🎉🎉", "x" * 600]
)
@pytest.mark.parametrize("width", range(5, 30))
def test_no_text_is_wider_than_its_column_whatever_its_characters(text: str, width: int) -> None:
    for in_middle in (True, False):
        found = shortened(text, width, in_middle=in_middle)
        assert width - 2 <= cell_len(found) <= width or found == text


def test_one_long_name_takes_the_room_of_no_other_column(render: Render) -> None:
    given = rows()
    given[0][2] = "very_long_type_name_" * 20
    for line in render(120, COLUMNS, given)[2:]:
        assert re.search(r" web-7f9c5d-4711-\d{4} | web-7f\S*…\S*\d{4} ", line)


def test_prose_that_is_told_in_full_breaks_between_words(render: Render) -> None:
    advice = "the tick of another worker takes their jobs back, or two calls of jobs_recover()"
    lines = render(60, "!verdict !check =detail", [["warn", "workers that are gone", advice]])
    assert " ".join(" ".join(lines[1:]).split()) == f"warn workers that are gone {advice}"
    assert all(line.startswith(" " * 31) for line in lines[2:])


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.31, "0.3s"), (12, "12s"), (250, "4m10s"), (7500, "2h05m"), (273_600, "3d4h"),
     (-48_599, "in 13h"), (-7500, "in 2h05m"), (-3595, "in 59m"), (-250, "in 4m"),
     (-45, "in 45s"), (-0.31, "in 0.3s"), (-273_600, "in 3d4h"), (-1_000_000, "in 11d")],
)
def test_an_age_of_what_is_due_later_says_in(seconds: float, told: str) -> None:
    assert told_duration(timedelta(seconds=seconds)) == told
