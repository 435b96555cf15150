"""The schema holds nothing that a stranger could let the functions of pgjobs run."""

import subprocess
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from pgjobs.errors import SchemaMismatch
from pgjobs.schema.migrate import migrate, sql_folder

Query = Callable[..., list[tuple[Any, ...]]]
Psql = Callable[..., subprocess.CompletedProcess[str]]
# What each object is called in the error, and how the stranger makes it.
OBJECTS = {
    "function public.evil(integer,text)": """create function evil(int, text) returns text
        language sql return $1::text""",
    "function public.evil()": "create procedure evil() language sql as 'select 1'",
    "function public.evil(integer)": "create aggregate evil(int) (sfunc = int4pl, stype = int)",
    "operator public.||(integer,integer)":
        "create operator || (leftarg = int, rightarg = int, function = int4pl)",
    "type public.evil": "create type evil as enum ('a')",
    "type public.unnest": "create domain unnest as text",
    "type public.pair": "create type pair as (a int)",
    "type public.span": "create type span as range (subtype = int)",
    "cast from public.num to text":
        "create type num as enum ('1'); create cast (num as text) with inout as implicit",
    "collation public.evil": 'create collation evil from "C"',
    "conversion public.evil": """create default conversion evil for 'LATIN1' to 'UTF8'
        from iso8859_1_to_utf8""",
    "text search configuration public.evil":
        "create text search configuration evil (copy = simple)",
    "text search dictionary public.evil":
        "create text search dictionary evil (template = simple)",
}
# Only a superuser may make these, but the superuser may give them away.
GIVEN = {
    "operator class public.evil for access method btree": """create operator class evil
        for type int using btree as operator 1 <, function 1 btint4cmp(int, int);
        alter operator class evil using btree owner to pgjobs_stranger""",
    "operator family public.evil for access method btree": """
        create operator family evil using btree;
        alter operator family evil using btree owner to pgjobs_stranger""",
}
TRAP = """
    set role pgjobs_stranger;
    create function trap(int, text) returns text language plpgsql as $$
        begin raise 'the trap was run by %', current_user; end $$;
    create operator || (leftarg = int, rightarg = text, function = trap);
    create function json_agg(record) returns json language plpgsql as $$
        begin raise 'the trap was run by %', current_user; end $$;
    create function set_config(text, text, boolean) returns text language plpgsql as $$
        begin raise 'the trap was run by %', current_user; end $$;
    """


@pytest.mark.parametrize("named", [*OBJECTS, *GIVEN])
def test_an_object_of_a_stranger_refuses_the_installation_and_is_named(
    empty_dsn: str, query: Query, stranger: str, named: str
) -> None:
    query(GIVEN.get(named) or f"set role {stranger}; {OBJECTS[named]}")
    with pytest.raises(SchemaMismatch, match="nothing was changed") as caught:
        migrate(empty_dsn)
    assert f"{named} of {stranger}" in str(caught.value)
    assert "Drop them, or give them to postgres" in str(caught.value)
    assert query("select to_regclass('jobs')") == [(None,)]
    # In another schema the installation succeeds.
    assert migrate(empty_dsn, "jobs") == ["0001_jobs"]


@pytest.mark.parametrize("by", ["migrate", "psql"])
def test_a_refused_installation_runs_nothing_of_the_schema(
    empty_dsn: str, query: Query, psql: Psql, stranger: str, by: str
) -> None:
    query(TRAP)
    if by == "migrate":
        with pytest.raises(SchemaMismatch) as caught:
            migrate(empty_dsn)
        said = str(caught.value)
    else:
        said = psql(empty_dsn, "-f", str(sql_folder() / "install.sql"), check=False).stderr
    assert f"operator public.||(integer,text) of {stranger}" in said
    assert "was run" not in said


def test_what_a_stranger_plants_later_refuses_upgrades_and_grants_and_the_doctor_names_it(
    empty_dsn: str, query: Query, stranger: str
) -> None:
    migrate(empty_dsn)
    query("create role pgjobs_app")
    try:
        doctor = """select verdict, detail, advice from jobs_doctor()
            where check_name = 'objects of other roles'"""
        assert query(doctor) == [("ok", "none", None)]
        query(f"set role {stranger}; {OBJECTS['type public.evil']}")
        with pytest.raises(SchemaMismatch, match=f"type public.evil of {stranger}"):
            migrate(empty_dsn)
        with pytest.raises(psycopg.Error, match=f"type public.evil of {stranger}") as caught:
            query("select jobs_grant('pgjobs_app', 'producer')")
        assert caught.value.sqlstate == "JQ005"
        ((verdict, detail, advice),) = query(doctor)
        assert verdict == "bad"
        assert f"type public.evil of {stranger}" in detail
        assert "alter ... owner to postgres" in advice
        query("alter type evil owner to postgres")
        query("select jobs_grant('pgjobs_app', 'producer')")
        assert migrate(empty_dsn) == []
    finally:
        query("drop owned by pgjobs_app; drop role pgjobs_app")


def test_objects_of_roles_that_the_installer_trusts_refuse_nothing(
    empty_dsn: str, query: Query, stranger: str
) -> None:
    (database,) = query("select quote_ident(current_database())")[0]
    query("create type of_a_superuser as enum ()")
    query("create role pgjobs_group; create role pgjobs_owner; create role pgjobs_installer")
    try:
        query("grant create on schema public to pgjobs_group, pgjobs_owner, pgjobs_installer")
        query("create role pgjobs_above; grant create on schema public to pgjobs_above")
        query("grant pgjobs_above to pgjobs_group; grant pgjobs_group to pgjobs_installer")
        query(f"alter database {database} owner to pgjobs_owner")
        for role in ("group", "owner", "installer", "above"):
            query(f"set role pgjobs_{role}; create type of_{role} as enum ()")
        as_installer = f"{empty_dsn}&options=-c%20role%3Dpgjobs_installer"
        assert migrate(as_installer) == ["0001_jobs"]
        query(f"set role {stranger}; create type of_stranger as enum ()")
        with pytest.raises(SchemaMismatch, match=r"objects of other roles.*of_stranger"):
            migrate(as_installer)
    finally:
        query(f"alter database {database} owner to postgres")
        for role in ("installer", "group", "owner", "above"):
            query(f"drop owned by pgjobs_{role} cascade; drop role pgjobs_{role}")


def test_a_superuser_belongs_only_to_the_roles_that_were_granted_to_it(
    empty_dsn: str, query: Query, stranger: str
) -> None:
    query(f"set role {stranger}; create type evil as enum ()")
    with pytest.raises(SchemaMismatch, match=f"type public.evil of {stranger}"):
        migrate(empty_dsn)
    query(f"do $$ begin execute format('grant {stranger} to %I', current_user); end $$")
    assert migrate(empty_dsn) == ["0001_jobs"]


def test_members_of_an_extension_pass_unless_a_stranger_owns_the_extension(
    empty_dsn: str, query: Query, stranger: str
) -> None:
    query(f"set role {stranger}; create type evil as enum ()")
    query("alter extension plpgsql add type evil")
    assert migrate(empty_dsn) == ["0001_jobs"]
    # Whoever owns an extension may make own objects its members.
    query(f"update pg_extension set extowner = '{stranger}'::regrole where extname = 'plpgsql'")
    with pytest.raises(SchemaMismatch, match=f"type public.evil of {stranger}"):
        migrate(empty_dsn)
    query("alter extension plpgsql drop type evil")


def test_extensions_of_the_administrator_of_a_managed_database_refuse_nothing(
    empty_dsn: str, query: Query, stranger: str
) -> None:
    query("create role pgjobs_cloud createrole; create role pgjobs_app")
    try:
        query("grant create on schema public to pgjobs_cloud, pgjobs_app")
        query("set role pgjobs_cloud; create type member as enum ()")
        query("alter extension plpgsql add type member")
        as_app = f"{empty_dsn}&options=-c%20role%3Dpgjobs_app"
        extension = "update pg_extension set extowner = '{}'::regrole where extname = 'plpgsql'"
        # A superuser has rights that an administrator could gain by a member of an extension.
        for owner, address in (
            (stranger, as_app), (stranger, empty_dsn), ("pgjobs_cloud", empty_dsn)
        ):
            query(extension.format(owner))
            with pytest.raises(SchemaMismatch, match=r"type public\.member of pgjobs_cloud"):
                migrate(address)
        assert migrate(as_app) == ["0001_jobs"]
    finally:
        query("alter extension plpgsql drop type member")
        for role in ("pgjobs_cloud", "pgjobs_app"):
            query(f"drop owned by {role} cascade; drop role {role}")


def test_an_extension_in_the_schema_does_not_refuse_the_installation(
    empty_dsn: str, query: Query, stranger: str
) -> None:
    # An extension that is trusted may be made by anybody; its members belong to a superuser.
    query("do $$ begin execute format('grant create on database %I to pgjobs_stranger',"
          " current_database()); end $$")
    there = query("select name from pg_available_extensions where name in ('citext', 'pg_trgm')")
    for (name,) in there:
        query(f"set role {stranger}; create extension {name} schema public")
    assert migrate(empty_dsn) == ["0001_jobs"]


def test_tables_of_other_roles_refuse_nothing(
    empty_dsn: str, query: Query, stranger: str
) -> None:
    query(f"set role {stranger}; create table array_agg (x text); create view unnest as select 1")
    assert migrate(empty_dsn) == ["0001_jobs"]


def test_of_many_objects_ten_are_named(empty_dsn: str, query: Query, stranger: str) -> None:
    query(f"set role {stranger}; {';'.join(f'create domain d{n} as int' for n in range(10, 33))}")
    with pytest.raises(SchemaMismatch, match=r"type public.d19 of pgjobs_stranger and 13 more"):
        migrate(empty_dsn)
