"""One verb, one name: a method of Database and the SQL function have the same arguments."""

import inspect

import pytest

from pgjobs.database import Database
from pgjobs.database.reading import Reading

# Look-ups by a plain select, and what is made of a function that has another name.
PLAIN = {"moment", "due_in", "enqueue_together"}
METHODS = sorted(
    name
    for name, _ in inspect.getmembers(Database, inspect.isfunction)
    if not name.startswith("_") and name not in PLAIN and not hasattr(Reading, name)
)
# What only psql and the command line need.
WITHOUT_METHOD = {"version", "doctor", "grant", "retry_delay", "grants"}


@pytest.mark.parametrize("method", METHODS)
async def test_a_method_takes_what_its_function_takes(conn, method):
    row = await conn.fetchrow(
        "select proargnames as names, proargmodes::text[] as modes, pronargdefaults as optional"
        " from pg_proc where proname in ('jobs_' || $1, '_jobs_' || $1)"
        " and pronamespace = 'public'::regnamespace",
        method,
    )
    assert row is not None, f"there is no SQL function jobs_{method} or _jobs_{method}"
    names, modes = row["names"] or [], row["modes"]
    if modes is not None:
        names = [n for n, mode in zip(names, modes, strict=True) if mode in ("i", "b")]
    taken = list(inspect.signature(getattr(Database, method)).parameters)[1:]
    assert [name for name in names if name in taken] == taken
    # What the method leaves out has a default.
    assert set(names) - set(taken) <= set(names[len(names) - row["optional"] :])


async def test_every_function_for_clients_has_a_method(conn):
    rows = await conn.fetch(
        "select proname, coalesce(obj_description(oid, 'pg_proc'), '') as comment"
        " from pg_proc where proname like 'jobs\\_%' and pronamespace = 'public'::regnamespace"
    )
    public = {
        row["proname"].removeprefix("jobs_")
        for row in rows
        if not row["comment"].startswith(("internal", "trigger"))
    }
    assert {n for n in public if not hasattr(Database, n)} <= WITHOUT_METHOD
