"""The embedded instance that runs here, if one does: how other programs of its user find it."""

import json
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

__all__ = [
    "ROOT_KEY", "Instance", "announce_instance", "home", "paths_in", "running_instance",
]  # fmt: skip

OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
# A path may have 4096 bytes, and there are three.
MAX_INSTANCE_BYTES: Final = 65_536
ROOT_KEY: Final = "root-key.json"
"""In an instance's folder: here, the owner of the one is the owner of the other."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A running embedded instance, as other commands find it."""

    url: str
    """Of store and queue both."""
    keyring: str
    data_dir: str
    pid: int


def paths_in(data_dir: Path) -> dict[tuple[str, str], Path]:
    """Return what lies in an instance's folder beside its keyring, by the setting that says so."""
    return {
        ("keyserver", "identity"): data_dir / "keyserver.json",
        ("audit", "directory"): data_dir / "audit",
        ("audit", "key"): data_dir / "audit-key.json",
    }


@contextmanager
def announce_instance(instance: Instance, environ: Mapping[str, str]) -> Iterator[str]:
    """Let this user's other commands find an instance while it runs.

    Gives nothing, or why they will not: a user without a home has no place for it.
    """
    path, trouble = _instance_file(environ), ""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, json.dumps(asdict(instance)) + "\n")
    except OSError as wrong:
        trouble = f"other commands will not find this: {path}: {wrong.strerror}"
    try:
        yield trouble
    finally:
        running = running_instance(environ)
        if running is not None and running.pid == instance.pid:
            path.unlink(missing_ok=True)


def running_instance(environ: Mapping[str, str]) -> Instance | None:
    """Return this user's running instance, if there is one.

    Whoever writes that file says where events and records go, and which keyring is used: one
    that is not this user's own, or that others can write, is as good as none.
    """
    try:
        found = Instance(**json.loads(_own_text(_instance_file(environ))))
        os.kill(found.pid, 0)
    except (OSError, ValueError, TypeError, RecursionError, OverflowError):
        return None
    return found


def _own_text(path: Path) -> str:
    # The open file is judged, and no link is followed.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or status.st_mode & OTHERS_WRITE:
            raise PermissionError(f"{path} is not this user's own")
        return file.read(MAX_INSTANCE_BYTES).decode()


def _replace(path: Path, text: str) -> None:
    """Write a file of one's own, whatever is there now, be it a link."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(new, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def _instance_file(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "kmworker" / "up.json"
    return home(environ) / ".local" / "state" / "kmworker" / "up.json"


def home(environ: Mapping[str, str]) -> Path:
    """Return this user's home folder; the root of the file system for one without."""
    named = environ.get("HOME")
    if named:
        return Path(named)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir or "/")
    except KeyError:
        # A container's user, known by number alone.
        return Path("/")
