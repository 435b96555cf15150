"""Writes the two lists of sql/: what install.sql includes, and the signatures it leads to.

`make contents` runs this after a file or an argument was added; a test compares.
"""

import re
import textwrap
from pathlib import Path
from typing import Any

import psycopg

SQL = Path(__file__).parents[1] / "sql"
_LIST = re.compile(
    r"(?<=-- begin of the generated list\n)(.*?)(?=^ *-- end of the generated list)",
    re.MULTILINE | re.DOTALL
)
# So that the list can be parsed while it is being made.
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
    """The files of functions and views, views last, as install.sql has to name them."""
    return "\n".join(
        f"\\ir {path.relative_to(SQL).as_posix()}"
        for folder in ("functions", "views")
        for path in sorted((SQL / folder).glob("*.sql"))
    )


def signatures(connection: psycopg.Connection[Any]) -> str:
    """The rows of sql/signatures.sql, from the functions of the connection's schema."""
    rows = [
        f"        ('{name}', {_quoted(result)}, {_quoted(arguments)})"
        for name, arguments, result in connection.execute(_SIGNATURES)
    ]
    return ",\n".join(rows)


def _quoted(text: str) -> str:
    if len(text) <= 40:
        return f"$${text}$$"
    # Broken between the arguments; spaces count as one when the list is compared.
    glued = text.replace(" ", "\xa0").replace(",\xa0", ", ")
    lines = textwrap.wrap(glued, 86, break_on_hyphens=False, break_long_words=False)
    indented = textwrap.indent("\n".join(lines), " " * 12)
    return f"$$\n{indented}\n        $$".replace("\xa0", " ")


def listed(name: str) -> str:
    """The list that the file holds now."""
    found = _LIST.search((SQL / name).read_text())
    assert found, f"sql/{name} has lost the lines that begin and end its generated list"
    return found[0].rstrip("\n")


def write(name: str, content: str) -> None:
    path = SQL / name
    path.write_text(_LIST.sub(lambda _: f"{content}\n", path.read_text()))


def main() -> None:
    from pgjobs.embedded import EmbeddedPostgres
    from pgjobs.migrate import migrate

    write("install.sql", includes())
    write("signatures.sql", _PLACEHOLDER)
    with (
        EmbeddedPostgres(settings={"fsync": "off"}) as server,
        psycopg.connect(server.dsn) as connection,
    ):
        migrate(server.dsn)
        write("signatures.sql", signatures(connection))


if __name__ == "__main__":
    main()
