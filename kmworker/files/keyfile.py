"""A file with keys: made once for its owner alone, or handed over by root.

Whoever reads the keyring's and the store reads every DEK; whoever replaces it chooses the
KEK for DEKs to come. A host's identity, and what it trusts, are no less. So only links of
root's or ours lead to it, and what is judged is the open file, which cannot be exchanged
between the check and the read.

Nothing is raised while a frame holds the file's content: crash reporters collect the
locals of every frame that an exception passes through.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from kmworker.errors import SetupError
from kmworker.files.following import StrangersLinkError, open_for_reading

__all__ = ["Purpose", "changing", "create", "read", "replace"]

MAX_FILE_BYTES = 65_536
"""Some 400 KEKs. A device or log file named by mistake is not read to its end."""

MODE = 0o600
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Purpose(NamedTuple):
    """What a file is for, as errors say it."""

    name: str
    named_by: str
    if_missing: str
    """What to do where there is no such file."""
    if_seen: str
    """What to do where others may have read it."""
    reader: str = "the worker"
    """Who reads it: the file is that user's."""


KEYRING: Final = Purpose(
    "keyring",
    "keyring.path",
    # Made anew beside a store with records, it would open none of them.
    "restore it from its backup; for a new store alone, make one: kmworker keyring init",
    "replace its KEKs",
)


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


def replace(path: Path, content: bytes) -> str | None:
    """Write a file anew, whole or not at all, on disk with its name when this returns.

    It belongs to whom it did, with the same rights. To be called inside `changing`.

    Returns:
        None, or what went wrong: then it is as it was.
    """
    # Renamed over a link, the file would lie beside the one that everybody reads.
    if path.is_symlink() or not path.is_file():
        return "not a file by its own name"
    written = path.with_name(f".{path.name}.new")
    # Left over by somebody who was killed: whoever changes the file holds the lock.
    written.unlink(missing_ok=True)
    problem = create(written, content)
    if problem is not None:
        return problem
    try:
        before = path.stat()
        os.chown(written, before.st_uid, before.st_gid)
        written.chmod(stat.S_IMODE(before.st_mode))
        written.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        written.unlink(missing_ok=True)
        return str(error.strerror)
    return None


@contextlib.contextmanager
def changing(path: Path, purpose: Purpose = KEYRING) -> Iterator[None]:
    """Let nobody else change a file meanwhile: of two changes, the second would undo the first.

    Raises:
        SetupError: its directory cannot be opened.
    """
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _error(path, str(error.strerror), f"check {purpose.named_by}", purpose) from None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def read(path: Path, purpose: Purpose = KEYRING) -> bytes:
    """Return the content of a file that nobody but us and whom root chose can read.

    Raises:
        SetupError: it is missing, not a regular file, too large, owned by someone other
            than this user or root, or behind a link of someone else's; others have any
            permission on it, or a group more than root may have given it.
    """
    descriptor = _open(path, purpose)
    try:
        refusal = _refusal(os.fstat(descriptor), purpose)
        if refusal is not None:
            raise _error(path, *refusal, purpose)
        return _content(descriptor)
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> bytes:
    # Not by a file object, which eventlet puts one of its own in place of.
    content = b""
    while part := os.read(descriptor, MAX_FILE_BYTES - len(content)):
        content += part
    return content


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


def _open(path: Path, purpose: Purpose) -> int:
    try:
        return open_for_reading(path)
    except StrangersLinkError as link:
        problem = f"a symbolic link on the way to it belongs to another user: {link}"
        hint = f"set {purpose.named_by} to the file itself"
        raise _error(path, problem, hint, purpose) from None
    except OSError as error:
        raise _error(path, *_unopened(error, purpose), purpose) from None


def _error(path: Path, problem: str, hint: str, purpose: Purpose = KEYRING) -> SetupError:
    return SetupError(f"{purpose.name} {path}: {problem}", hint)


def _unopened(error: OSError, purpose: Purpose) -> tuple[str, str]:
    if error.errno == errno.ENOENT:
        return "no such file", purpose.if_missing
    if error.errno == errno.ELOOP:
        hint = f"set {purpose.named_by} to the file itself"
        return "a symbolic link that cannot be followed", hint
    return str(error.strerror), f"check {purpose.named_by} and the permissions along it"


def _refusal(status: os.stat_result, purpose: Purpose) -> tuple[str, str] | None:
    name, named_by = purpose.name, purpose.named_by
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file", f"set {named_by} to the {name} file"
    # The owner can change the file at any time: another user's file is another user's KEK.
    if status.st_uid not in {os.geteuid(), 0}:
        return "belongs to another user", f"chown it to the user that runs {purpose.reader}"
    if _is_open(status):
        hint = (
            "chmod 600 it, or hand it over with mode 0400 (docs/operations.md, Keyrings); "
            f"if others may have read it, {purpose.if_seen}"
        )
        return "open to group or others", hint
    if status.st_size >= MAX_FILE_BYTES:
        return f"too large for a {name}", f"set {named_by} to the {name} file"
    return None


def _is_open(status: os.stat_result) -> bool:
    """Return whether more may be done with a file than its owner meant, as far as modes tell.

    A file of our own has rights for a group by carelessness: we could take them away. One of
    root's has them because a platform gives secrets to unprivileged users so: Kubernetes by
    fsGroup, systemd by an ACL, whose mask then stands in the group's bits. Root may read our
    memory anyway and chose whom it gives the file to; a group that is neither root's nor ours
    was not chosen for us. Writing is never part of handing over.
    """
    if status.st_uid != 0 or status.st_gid not in {0, os.getegid(), *os.getgroups()}:
        return bool(status.st_mode & OTHERS)
    return bool(status.st_mode & (OTHERS & ~stat.S_IRGRP))
