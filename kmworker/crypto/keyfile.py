"""The keyring's file: made once, readable by its owner alone.

Whoever reads this file and the store reads every DEK; whoever replaces it chooses the
KEK for DEKs to come. So nothing here follows a symbolic link, and what is judged is
the open file, which cannot be exchanged between the check and the read.

Nothing is raised while a frame holds the file's content: crash reporters collect the
locals of every frame that an exception passes through.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path

from kmworker.errors import SetupError

__all__ = ["create", "read"]

FILE_BYTES_MAX = 65_536
"""Some 400 KEKs. A device or log file named by mistake is not read to its end."""

MODE = 0o600
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def create(path: Path, content: bytes) -> str | None:
    """Write a new file, on disk with its name when this returns.

    Returns:
        None, or what went wrong: then there is no file, or the one that was there before
        is untouched.
    """
    # O_EXCL: a second `init` must not destroy the KEK that existing DEKs need, and
    # nobody can lay out a file or a link beforehand for the KEK to be written into.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, MODE)
    except OSError as error:
        return "already exists" if error.errno == errno.EEXIST else str(error.strerror)
    try:
        _write(descriptor, content)
        _sync_directory(path.parent)
    except OSError as error:
        # Half a keyring would block the next `init` and be refused by every worker.
        with contextlib.suppress(OSError):
            path.unlink()
        return str(error.strerror)
    return None


def read(path: Path) -> bytes:
    """Return the content of a file that only its owner can read.

    Raises:
        SetupError: it is missing, not a regular file, too large, owned by someone other
            than this user or root, or group or others have any permission on it.
    """
    descriptor = _open(path)
    try:
        refusal = _refusal(os.fstat(descriptor))
        if refusal is not None:
            raise _error(path, *refusal)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(FILE_BYTES_MAX)
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        # The umask may have taken away our own right to read it again.
        os.fchmod(descriptor, MODE)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    # Without this the file's name can be lost in a power cut, and with it the KEK of
    # every DEK wrapped in the meantime.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    # O_NONBLOCK: opening a FIFO would otherwise hang until somebody writes to it.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except OSError as error:
        raise _error(path, *_unopened(error)) from None


def _error(path: Path, problem: str, hint: str) -> SetupError:
    return SetupError(f"keyring {path}: {problem}", hint)


def _unopened(error: OSError) -> tuple[str, str]:
    if error.errno == errno.ENOENT:
        return "no such file", "create one with: kmworker keyring init"
    if error.errno == errno.ELOOP:
        return "is a symbolic link", "set keyring.path to the file itself"
    return str(error.strerror), "check keyring.path and the permissions along it"


def _refusal(status: os.stat_result) -> tuple[str, str] | None:
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file", "set keyring.path to the keyring file"
    # The owner can change the file at any time: another user's file is another user's KEK.
    if status.st_uid not in {os.geteuid(), 0}:
        return "belongs to another user", "chown it to the user that runs the worker"
    # With a POSIX ACL the group bits show its mask, so rights granted there count too.
    if status.st_mode & OTHERS:
        return (
            "open to group or others",
            "chmod 600 it; if others may have read it, replace its KEKs",
        )
    if status.st_size >= FILE_BYTES_MAX:
        return "too large for a keyring", "set keyring.path to the keyring file"
    return None
