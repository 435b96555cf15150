"""Turns any DSN into an address that asyncpg and libpq (psycopg, psql) both understand.

A driver that cannot read a DSN quotes the part at which it stumbled, which may be the password. So
a driver only gets a DSN that was read here first, and no error of this file repeats a DSN.
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from urllib.parse import quote, unquote, unquote_plus, urlencode

from pgjobs.errors import InvalidArgument

DSN_VARIABLES = ("PGJOBS_DSN", "DATABASE_URL")  # the first one that is set names the database
# Those of libpq that say where the server is.
PG_VARIABLES = {"PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE"}

# The parameters that both drivers take. asyncpg sends any other one to the server as a setting.
_COMMON = {
    "host", "port", "dbname", "user", "password", "passfile", "service", "application_name",
    "options", "sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword",
    "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version",
    "target_session_attrs", "krbsrvname", "gsslib",
}
# Parameters of SQLAlchemy, which say nothing about the server.
_SQLALCHEMY = {"prepared_statement_cache_size", "prepared_statement_name_func", "async_fallback"}
# What redact() shows. Any other parameter may hold a secret: `options` sets any setting.
_SHOWN = {"host", "port", "dbname", "user", "service", "application_name", "sslmode"}

_HOST = r"(?:\[[\w:.%~-]*\]|[^\[\]:,@/?#\s]*)(?::\d{0,5})?"
# Each of / ? # @ ends a part. Where one is left over, a password has it unescaped.
_URL = re.compile(
    r"postgres(?:ql)?(?:\+\w+)?://"
    r"(?:(?P<user>[^:/?#@]*)(?P<password>:[^/?#@]*)?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"(?:/(?P<dbname>[^/?#@]*))?(?:\?(?P<query>[^#]*))?"
)
_HOST_AND_PORT = re.compile(r"(\[.*\]|[^:]*):?(\d*)")
_PARAMETER = re.compile(r"([A-Za-z_][\w.]*)=(.*)")
# asyncpg overlooks a line break within a URL, and libpq ends a text at its first zero.
_NEVER_IN_URL = re.compile(r"[\x00-\x1f\x7f]|%(?![0-9A-Fa-f]{2})|%00")
# In any text; the examples of this file stay readable.
_PASSWORD_IN_URL = re.compile(r"(://[^:/@\s]*:)(?!password@)\S*(?=@)")
_PASSWORD_BY_NAME = re.compile(r"(password=)(?!'\.\.\.')(?:'[^']*'?|[^\s&]+)")
_SAFE_IN_LOGIN = "!$&'()*+,;=~"

_EXAMPLE = "postgresql://user:password@host:5432/database"
_UNREADABLE = (
    f"the DSN cannot be read: write it like {_EXAMPLE}, and escape the characters / ? # @ % of the"
    " password by %2F %3F %23 %40 %25"
)
_UNREADABLE_KEYWORDS = (
    f"the DSN cannot be read: write it like {_EXAMPLE}, or like host=... user=... password='...',"
    " where a value with spaces needs the quotes"
)


def resolve(dsn: str | None) -> str:
    """``dsn``, else PGJOBS_DSN, else DATABASE_URL, else "": libpq's PGHOST, PGDATABASE, ....

    Takes ``postgres://``, ``postgresql://``, either with ``+asyncpg`` or ``+psycopg``, and libpq's
    ``host=... dbname=...``. Parameters that only one driver knows are translated, or left out.
    Raises ``InvalidArgument``, which repeats no part of the DSN.
    """
    if dsn is not None and not isinstance(dsn, str):
        raise InvalidArgument(
            f"the DSN must be a string, not {type(dsn).__name__}: write it like {_EXAMPLE}"
        )
    found = dsn or next(filter(None, map(os.environ.get, DSN_VARIABLES)), "")
    found = found.strip()
    if not found:
        return ""
    if "://" not in found.split("=", 1)[0]:
        return _from_keywords(found)
    if found.partition("://")[0].partition("+")[0] not in ("postgres", "postgresql"):
        raise InvalidArgument(
            f"the DSN does not begin with postgresql://, so its database is not PostgreSQL: write"
            f" it like {_EXAMPLE}"
        )
    try:
        login, hosts, dbname, parameters = _parts(found)
        return _address(login, hosts, dbname, _translated(parameters))
    except UnicodeError:
        # Not chained: this error keeps the text that cannot be decoded.
        raise InvalidArgument(_UNREADABLE) from None


def redact(dsn: str | None) -> str:
    """Returns the address that ``resolve`` makes of the DSN, without secrets: for logs and errors.

    Raises nothing.
    """
    try:
        address = resolve(dsn)
    except InvalidArgument:
        return "(a DSN that cannot be read)"
    if not address:
        return ""
    (user, password), hosts, dbname, parameters = _parts(address)
    shown = {name: value if name in _SHOWN else "***" for name, value in parameters}
    return _address((user, password and "***"), hosts, dbname, shown)


def once_reachable(address: str) -> str:
    """Says what must change before a server can be reached, and who has named this one.

    ``address`` is what ``resolve`` has made of a DSN; the text has no secrets. It ends a sentence
    that ends in "try again".
    """
    if not address:
        named = ", ".join(sorted(PG_VARIABLES & os.environ.keys()))
        used = f"those of {named} hold" if named else "libpq's defaults hold"
        return (
            f"once a database is named: neither {' nor '.join(DSN_VARIABLES)} is set, and no dsn"
            f" was given, so {used}; write {DSN_VARIABLES[0]}={_EXAMPLE}"
        )
    for variable in DSN_VARIABLES:
        with suppress(InvalidArgument):
            if os.environ.get(variable) and resolve(os.environ[variable]) == address:
                return f"once a server answers at {redact(address)}, which {variable} names"
    return f"once a server answers at {redact(address)}, which the given dsn names"


def without_passwords(text: str) -> str:
    """Returns the text without the password of any DSN in it, also of one that cannot be read."""
    return _PASSWORD_BY_NAME.sub(r"\1***", _PASSWORD_IN_URL.sub(r"\1***", text))


# The user and the password; None: the DSN has none, not even an empty one.
_Login = tuple[str | None, str | None]


def _parts(url: str) -> tuple[_Login, str, str, list[tuple[str, str]]]:
    """The login, the hosts with their ports, the database and the parameters, unescaped."""
    found = _URL.fullmatch(url)
    if found is None or _NEVER_IN_URL.search(url):
        raise InvalidArgument(_UNREADABLE)
    user, password, dbname, query = found.group("user", "password", "dbname", "query")
    # SQLAlchemy, whose URLs may name a driver, writes a space as +. libpq takes a + as it is.
    unescape = unquote_plus if "+" in url.partition("://")[0] else unquote
    parameters = []
    for text in filter(None, (query or "").split("&")):
        parameter = _PARAMETER.fullmatch(text)
        # With an @ in a parameter that nobody knows, the query is a part of a password.
        if parameter is None or ("@" in text and parameter[1] not in _COMMON):
            raise InvalidArgument(_UNREADABLE)
        parameters.append((parameter[1], unescape(parameter[2], errors="strict")))
    login = _unescaped(user), _unescaped(password and password[1:])
    return login, found["hosts"], _unescaped(dbname) or "", parameters


def _unescaped(text: str | None) -> str | None:
    return text and unquote(text, errors="strict")


def _from_keywords(conninfo: str) -> str:
    # Here, since psycopg takes a third of the time that importing pgjobs does.
    from psycopg import Error
    from psycopg.conninfo import conninfo_to_dict

    try:
        given = conninfo_to_dict("" if "\0" in conninfo else conninfo)
        parameters = [(name, str(value)) for name, value in given.items() if value is not None]
        if parameters:
            return _address((None, None), "", "", _translated(parameters))
    except (Error, UnicodeError):
        pass  # libpq quotes what it could not read, and that may be the password
    raise InvalidArgument(_UNREADABLE_KEYWORDS)


def _address(login: _Login, hosts: str, dbname: str, parameters: dict[str, str]) -> str:
    # Of what is given twice, libpq takes the parameter, and asyncpg the part before the parameters.
    if login != (None, None):
        login = parameters.pop("user", login[0]), parameters.pop("password", login[1])
    hosts = _hosts(hosts, parameters)
    user, password = (text and quote(text, safe=_SAFE_IN_LOGIN) for text in login)
    at = "" if user is None else f"{user}@" if password is None else f"{user}:{password}@"
    # asyncpg overlooks a dbname among the parameters when there is a path, even an empty one.
    dbname = quote(parameters.pop("dbname", dbname), safe="")
    query = urlencode(parameters, quote_via=quote, safe="/*")
    return f"postgresql://{at}{hosts}/{dbname}{'?' if query else ''}{query}"


def _hosts(hosts: str, parameters: dict[str, str]) -> str:
    """The hosts with their ports; takes those that are parameters, where asyncpg would not."""
    named = parameters.get("host", "").split(",")
    if not any(map(_is_ipv6, named)) and not (hosts and {"host", "port"} & parameters.keys()):
        return hosts
    given = [_HOST_AND_PORT.fullmatch(host) for host in hosts.split(",")]
    names = named if any(named) else [unquote(found[1].strip("[]")) for found in given if found]
    parameters.pop("host", None)
    ports = [found[2] or "" for found in given if found]
    if "port" in parameters:
        ports = parameters.pop("port").split(",")
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names):
        raise InvalidArgument(f"the DSN has {len(names)} hosts, but {len(ports)} ports")
    return ",".join(
        (f"[{quote(name, safe=':')}]" if _is_ipv6(name) else quote(name, safe=""))
        + (port and f":{port}")
        for name, port in zip(names, ports, strict=True)
    )


def _is_ipv6(host: str) -> bool:
    return ":" in host and not host.startswith("/")


@cache
def _known_to_libpq() -> frozenset[str]:
    from psycopg import pq

    return frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())


def _translated(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    result: dict[str, str] = {}
    settings: list[str] = []
    for name, value in parameters:
        if name == "ssl":  # SQLAlchemy's and asyncpg's name for it
            result["sslmode"] = {"true": "require", "false": "disable"}.get(value.lower(), value)
        elif name == "database":
            result["dbname"] = value
        elif name in _COMMON:
            result[name] = value
        elif name not in _SQLALCHEMY and name not in _known_to_libpq():
            escaped = value.replace("\\", "\\\\").replace(" ", "\\ ")
            settings.append(f"-c {name}={escaped}")
    if settings:
        result["options"] = " ".join([*filter(None, [result.get("options")]), *settings])
    return result
