"""A host's identity is renewed: the new one beside the old, until it has been enrolled.

Static keys have no forward secrecy: whoever gets one opens what was ever recorded for it. So they
are renewed, and the old one is destroyed once nothing is on its way to it.
"""

import os
from pathlib import Path

from kmworker.delegation.identity import IDENTITY_FILE, Identity
from kmworker.errors import SetupError
from kmworker.files import keyfile

__all__ = ["former_path", "make_next", "next_path", "take_over"]


def next_path(path: Path) -> Path:
    """Return where the new identity lies until it takes over."""
    return path.with_name(f"{path.name}.next")


def former_path(path: Path) -> Path:
    """Return where the old identity lies after that, for answers that are still on their way."""
    return path.with_name(f"{path.name}.former")


def make_next(path: Path, created_at: str) -> Identity:
    """Draw a new identity, and write it beside the one that is used.

    Raises:
        SetupError: there is none that is used, or one that waits already; it cannot be written.
    """
    Identity.load(path)
    made = Identity.generate(created_at)
    made.write(next_path(path))
    return made


def take_over(path: Path) -> Identity:
    """Put the new identity in the place of the old, which stays beside it; return the new one.

    Whoever loads it meanwhile gets one of the two. Killed at any point, it may be called again.

    Raises:
        SetupError: no new one is there, or the files cannot be changed.
    """
    with keyfile.changing(path, IDENTITY_FILE):
        made = Identity.load(next_path(path))
        linked = path.with_name(f".{path.name}.former")
        try:
            linked.unlink(missing_ok=True)
            linked.hardlink_to(path)
            # By a second name first: at no time is there no identity under the first.
            linked.replace(former_path(path))
            next_path(path).replace(path)
            _sync(path.parent)
        except OSError as error:
            hint = "nothing is lost: put that right, and do it again"
            raise SetupError(f"identity {path}: {error.strerror}", hint) from None
        return made


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
