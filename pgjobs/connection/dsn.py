"""Turns any DSN into an address that asyncpg and libpq (psycopg, psql) both understand."""

import os
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from psycopg import Error, pq
from psycopg.conninfo import conninfo_to_dict

from pgjobs.errors import InvalidArgument

# The parameters that both drivers take. asyncpg sends any other one to the server as a setting.
_COMMON = {
    "host", "port", "dbname", "user", "password", "passfile", "service", "application_name",
    "options", "sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword",
    "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version",
    "target_session_attrs", "krbsrvname", "gsslib",
}
# Parameters of SQLAlchemy, which say nothing about the server.
_SQLALCHEMY = {"prepared_statement_cache_size", "prepared_statement_name_func", "async_fallback"}
_EXAMPLE = "postgresql://user:password@host:5432/database"


def resolve(dsn: str | None) -> str:
    """``dsn``, else PGJOBS_DSN, else DATABASE_URL, else "": libpq's PGHOST, PGDATABASE, ....

    Takes ``postgres://``, ``postgresql://``, either with ``+asyncpg`` or ``+psycopg``, and libpq's
    ``host=... dbname=...``. Parameters that only one driver knows are translated, or left out.
    """
    if dsn is not None and not isinstance(dsn, str):
        raise InvalidArgument(f"the DSN must be a string, not {dsn!r}: write it like {_EXAMPLE}")
    found = dsn or os.environ.get("PGJOBS_DSN") or os.environ.get("DATABASE_URL") or ""
    found = found.strip()
    if not found:
        return ""
    if "://" not in found.split("=", 1)[0]:
        return _from_keywords(found)
    try:
        parts = urlsplit(found)
        parameters = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=False)
    except ValueError as error:
        raise InvalidArgument(f"the DSN cannot be read: write it like {_EXAMPLE}") from error
    if parts.scheme.split("+")[0] not in ("postgres", "postgresql"):
        raise InvalidArgument(
            f"the DSN begins with {parts.scheme}://, which is not PostgreSQL: write it like"
            f" {_EXAMPLE}"
        )
    return _address(parts.netloc, parts.path, _translated(parameters))


def redact(dsn: str) -> str:
    """Returns the DSN without its passwords, for logs and errors."""
    if not dsn:
        return ""
    try:
        parts = urlsplit(resolve(dsn))
    except InvalidArgument:
        return "(a DSN that cannot be read)"
    login, at, host = parts.netloc.rpartition("@")
    user, colon, password = login.partition(":")
    netloc = f"{user}:***@{host}" if colon and password else f"{login}{at}{host}"
    parameters = {
        name: "***" if "password" in name else value
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    }
    return _address(netloc, parts.path, parameters)


def _from_keywords(conninfo: str) -> str:
    try:
        given = conninfo_to_dict(conninfo)
    except (Error, UnicodeEncodeError):
        # Not chained: libpq quotes what it could not read, and that may be the password.
        raise InvalidArgument(f"the DSN cannot be read: write it like {_EXAMPLE}") from None
    parameters = [(name, str(value)) for name, value in given.items() if value is not None]
    return _address("", "", _translated(parameters))


def _address(netloc: str, path: str, parameters: dict[str, str]) -> str:
    # asyncpg overlooks a dbname among the parameters when there is a path, even an empty one.
    dbname = parameters.pop("dbname", None)
    path = path if dbname is None else f"/{quote(dbname, safe='')}"
    query = urlencode(parameters, quote_via=quote, safe="/*")
    # urlunsplit() would drop the slashes of an empty netloc, which a Unix socket's address has.
    return f"postgresql://{netloc}{path or '/'}{'?' if query else ''}{query}"


def _translated(parameters: list[tuple[str, str]]) -> dict[str, str]:
    known_to_libpq = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    result: dict[str, str] = {}
    settings: list[str] = []
    for name, value in parameters:
        if name == "ssl":  # SQLAlchemy's and asyncpg's name for it
            result["sslmode"] = {"true": "require", "false": "disable"}.get(value.lower(), value)
        elif name == "database":
            result["dbname"] = value
        elif name in _COMMON:
            result[name] = value
        elif name not in known_to_libpq and name not in _SQLALCHEMY:
            escaped = value.replace("\\", "\\\\").replace(" ", "\\ ")
            settings.append(f"-c {name}={escaped}")
    if settings:
        result["options"] = " ".join([*filter(None, [result.get("options")]), *settings])
    return result
