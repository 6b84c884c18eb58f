"""A PostgreSQL of one's own for a test, on loopback, with a password; it skips where there is none.

The server refuses to run as root; there it runs as another user, in a folder that is this user's.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "hush:@/1"
QUOTED = "hush%3A%40%2F1"
START_S = 60


def _programs() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    pytest.skip("needs a PostgreSQL server (package postgresql)")


def _other_user() -> str | None:
    """Whom the server runs as; None: as who we are."""
    if os.geteuid() != 0:
        return None
    names = {user.pw_name for user in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in names:
            return name
    pytest.skip("needs a user that is not root to run PostgreSQL as")


@contextmanager
def postgres() -> Iterator[str]:
    """The server's `HOST:PORT`, with a user `tester` and a database `postgres`."""
    programs, user = _programs(), _other_user()
    # Folders of pytest are shut to other users.
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        for path in (folder, secret):
            if user is not None:
                shutil.chown(path, user)
        data = folder / "data"
        made = ["--auth=scram-sha-256", f"--pwfile={secret}", "--username=tester", "--no-sync"]
        command = [str(programs / "initdb"), f"--pgdata={data}", *made, "--no-locale"]
        done = subprocess.run(
            command, cwd="/", user=user, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        with _running(programs / "postgres", data, user) as port:
            yield f"127.0.0.1:{port}"


@contextmanager
def _running(program: Path, data: Path, user: str | None) -> Iterator[int]:
    port = _free_port()
    flags = ["-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(data)]
    with subprocess.Popen(
        [str(program), *flags, "-c", "fsync=off"], cwd="/", user=user, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(process, port)
            yield port
        finally:
            process.send_signal(signal.SIGINT)  # waits for no one
            process.wait(START_S)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "PostgreSQL has ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("PostgreSQL did not answer")
