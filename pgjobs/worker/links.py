"""The three connections of a worker (docs/decisions/0009-three-connections.md)."""

from pgjobs.connection.link import Link

# A claim need not be flushed to disk: the flush of a later completion covers it too, and a claim
# that a crash of the server undoes is made again. So a claim costs no disk write.
_CLAIM_SETTINGS = {"synchronous_commit": "off", "lock_timeout": "4s"}
# A row that another session has locked, or whose trigger is slow, must not delay the ends of other
# jobs: Settlement halves the batch ten times to find that row. The flush at the commit is not
# counted in the statement's time.
_SETTLE_SETTINGS = {"lock_timeout": "200ms", "statement_timeout": "2s"}
# The server drops a half-open LISTEN connection, and with it the worker's name, after 25 s.
_LISTEN_SETTINGS = {
    "synchronous_commit": "off", "lock_timeout": "2s", "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
}
_LISTEN_TIMEOUT_S = 4.0


class Links:
    """``claim`` carries claims and looks; ``settle`` ends; ``listen`` LISTEN and all the rest."""

    def __init__(self, dsn: str, listen_dsn: str | None, worker: str) -> None:
        name = f"pgjobs {worker}"
        self.claim = Link(dsn, name=f"{name} claim", settings=_CLAIM_SETTINGS)
        self.settle = Link(dsn, name=f"{name} settle", settings=_SETTLE_SETTINGS)
        self.listen = Link(
            listen_dsn or dsn, name=f"{name} listen", settings=_LISTEN_SETTINGS,
            timeout_s=_LISTEN_TIMEOUT_S, private=True,
        )
