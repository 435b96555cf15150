"""Writes the two generated lists in sql/: the files of install.sql, and all signatures.

Run `make contents` after you add a file or an argument; a test fails until the lists are right.
"""

import re
import textwrap
from pathlib import Path
from typing import Any

import psycopg

SQL = Path(__file__).parents[1] / "sql"
# The folders of sql/functions in the order of a job's life.
GROUPS = {
    "enqueue": "how a job gets in, and how workers are notified",
    "claim": "how a worker takes due jobs",
    "finish": "how a run ends: completed, failed, given back",
    "limits": "how many jobs of a queue or a group may run or start",
    "lease": "how long a job stays held, and how it is taken back",
    "workers": "the register of workers, their modes, and signals to them",
    "flows": "who waits for other jobs, and batches",
    "watching": "who waits for the ends of jobs",
    "schedules": "what is enqueued by the clock",
    "history": "how many attempts ended, and how long they took",
    "retention": "how long ended jobs stay",
    "manage": "what an operator does",
    "reading": "how many jobs there are, and which",
    "doctor": "what is stuck and why",
}
_LIST = re.compile(
    r"(?<=-- begin of the generated list\n)(.*?)(?=^ *-- end of the generated list)",
    re.MULTILINE | re.DOTALL
)
# One valid row, so that the installation can read the file before the new list is written.
_PLACEHOLDER = "        (null, null, null)"
_SIGNATURES = """
    select p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)
    from pg_proc p
    where p.pronamespace = quote_ident(current_schema())::regnamespace
    union all
    select c.relname, (
            select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)),
                ', ' order by a.attnum)
            from pg_attribute a where a.attrelid = c.oid and a.attnum > 0),
        'view'
    from pg_class c
    where c.relnamespace = quote_ident(current_schema())::regnamespace and c.relkind = 'v'
    order by 1
"""


def includes() -> str:
    """The table of contents of install.sql: functions by group, public functions first; views."""
    folders = {f"functions/{group}": says for group, says in GROUPS.items()}
    lines = []
    for folder, says in {**folders, "views": "what an observer may read"}.items():
        lines.append(f"-- {folder}: {says}")
        files = (SQL / folder).glob("*.sql")
        names = sorted((path.name for path in files), key=lambda n: (n.startswith("_"), n))
        lines += [f"\\ir {folder}/{name}" for name in names]
    return "\n".join(lines)


def signatures(connection: psycopg.Connection[Any]) -> str:
    """The rows of sql/install/signatures.sql, from the functions of the connection's schema."""
    rows = [
        f"        ('{name}', {_quoted(result)}, {_quoted(arguments)})"
        for name, arguments, result in connection.execute(_SIGNATURES)
    ]
    return ",\n".join(rows)


def _quoted(text: str) -> str:
    if len(text) <= 40:
        return f"$${text}$$"
    # Lines break between arguments; sql/install/replace.sql reads a line break as one space.
    glued = text.replace(" ", "\xa0").replace(",\xa0", ", ")
    lines = textwrap.wrap(glued, 86, break_on_hyphens=False, break_long_words=False)
    indented = textwrap.indent("\n".join(lines), " " * 12)
    return f"$$\n{indented}\n        $$".replace("\xa0", " ")


def listed(name: str) -> str:
    """The generated list as the file contains it now."""
    found = _LIST.search((SQL / name).read_text())
    assert found, f"sql/{name} has lost the lines that begin and end its generated list"
    return found[0].rstrip("\n")


def write(name: str, content: str) -> None:
    path = SQL / name
    path.write_text(_LIST.sub(lambda _: f"{content}\n", path.read_text()))


def main() -> None:
    from pgjobs.embedded import EmbeddedPostgres
    from pgjobs.schema.migrate import migrate

    write("install.sql", includes())
    write("install/signatures.sql", _PLACEHOLDER)
    with (
        EmbeddedPostgres(settings={"fsync": "off"}) as server,
        psycopg.connect(server.dsn) as connection,
    ):
        migrate(server.dsn)
        write("install/signatures.sql", signatures(connection))


if __name__ == "__main__":
    main()
