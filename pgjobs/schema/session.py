"""The sessions that install: psycopg's, with the settings that the installation relies on."""

from typing import Any

import psycopg

from pgjobs.connection.connector import SESSION_SETTINGS


def connect(address: str) -> psycopg.Connection[Any]:
    """Connects so that neither the role nor the database decides what the SQL files mean.

    The files are UTF-8. In a database of encoding SQL_ASCII psycopg would return bytes for text,
    unless the session has an encoding of its own. Until the caller sets a path, every unqualified
    name is one of PostgreSQL's.
    """
    connection = psycopg.connect(
        address, autocommit=True, prepare_threshold=None, client_encoding="UTF8"
    )
    try:
        settings = [f"set {name} = '{value}'" for name, value in SESSION_SETTINGS.items()]
        # The caller's own transaction may hold the lock, and would be waited for without end.
        settings.append("set lock_timeout = '5s'")
        connection.execute(";".join([*settings, "set search_path to pg_catalog, pg_temp"]).encode())
    except BaseException:
        connection.close()
        raise
    return connection
