"""A streaming standby of a server, and the address of both."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlencode

import asyncpg
from chaos.processes import eventually

from pgjobs.embedded import EmbeddedPostgres

NAME = "standby"  # its application_name at the primary


class Standby(EmbeddedPostgres):
    """A server that begins as a copy of another one, and follows it.

    ``conninfo``: where it finds the primary; left out, at the primary's Unix socket.
    """

    def __init__(
        self, primary: EmbeddedPostgres, path: Path, *, conninfo: str | None = None
    ) -> None:
        self._primary = f"host={primary.socket_folder} port={primary.port} user=postgres"
        follow = f"{conninfo or self._primary} application_name={NAME}"
        settings = {**primary.settings, "primary_conninfo": follow}
        super().__init__(path, settings=settings, bin=primary.bin)

    def _init_cluster(self) -> None:
        # Where PostgreSQL cannot run as root, the copy belongs to the user that runs it.
        self._run(
            "pg_basebackup", "-D", str(self._data), "-d", self._primary, "--checkpoint=fast",
            "--no-sync", "--write-recovery-conf",
        )


Follow = Callable[..., Standby]


def address(*servers: EmbeddedPostgres) -> str:
    """The DSN of that server among them which takes writes."""
    query = urlencode(
        {
            "host": ",".join(str(server.socket_folder) for server in servers),
            "port": ",".join(str(server.port) for server in servers),
            "user": "postgres",
            "target_session_attrs": "read-write",
        },
        quote_via=quote,
    )
    return f"postgresql:///postgres?{query}"


async def make_synchronous(primary: asyncpg.Connection) -> None:
    """From now on a commit is acknowledged when the standby has it on its disk too."""
    await primary.execute("alter system set synchronous_standby_names = '*'")
    await primary.execute("select pg_reload_conf()")
    await eventually(
        lambda: primary.fetchval("select sync_state = 'sync' from pg_stat_replication"),
        "the standby is synchronous",
    )
    # The checkpointer tells the other sessions, and reads the setting before its next checkpoint.
    await primary.execute("checkpoint")
