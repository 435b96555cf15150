"""One verb, one name: a method of Database and the SQL function have the same arguments."""

import inspect

import pytest

from pgjobs.database import Database
from pgjobs.database.enqueue import BATCH_ARGUMENTS
from pgjobs.database.looking import Looking
from pgjobs.database.manage import Filters
from pgjobs.database.reading import Reading

# Methods that send a plain select, or call a function of another name.
WITHOUT_FUNCTION = {
    "moment", "look", "claim_unread", "batch_counts", "minutes", *vars(Reading), *vars(Looking),
} - {"counts", "doctor", "version"}
METHODS = sorted(
    name
    for name, _ in inspect.getmembers(Database, inspect.isfunction)
    if not name.startswith("_") and name not in WITHOUT_FUNCTION
)
# Only psql and the command line call these functions.
WITHOUT_METHOD = {"version", "doctor", "grant", "retry_delay", "grants", "quantile"}


@pytest.mark.parametrize("method", METHODS)
async def test_a_method_has_the_arguments_of_its_function(conn, method):
    row = await conn.fetchrow(
        "select proargnames[1:pronargs] as arguments from pg_proc"
        " where proname in ('jobs_' || $1, '_jobs_' || $1)"
        " and pronamespace = 'public'::regnamespace"
        # Of jobs_recover and _jobs_recover, clients call the public one.
        " order by proname collate \"C\" desc",
        method,
    )
    assert row is not None, f"there is no SQL function jobs_{method} or _jobs_{method}"
    _, *parameters = inspect.signature(getattr(Database, method)).parameters
    if parameters[-1:] == ["filters"]:
        # By name only, so in any order.
        assert {*parameters[:-1], *Filters.__annotations__} == {*row["arguments"]}
    elif parameters == ["given"]:
        assert [*BATCH_ARGUMENTS] == row["arguments"]
    else:
        # `watch` of enqueue is a call of jobs_watch in the same statement.
        assert parameters == (row["arguments"] or []) + ["watch"] * (method == "enqueue")


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
