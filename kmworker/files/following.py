"""Opening a file by links that only root or we can have laid.

Platforms hand a secret over behind links (Kubernetes' `keyring.json -> ..data -> ..2026_…`).
Whoever may lay one of ours chooses the file. So each is looked at, and what is followed is the
very link that was looked at: one that is exchanged in between has no effect.
"""

import errno
import os
import stat
from collections import deque
from pathlib import Path
from typing import Final

__all__ = ["StrangersLinkError", "open_for_reading"]

# As many as Linux follows.
MAX_LINKS: Final = 40
# The entry itself, be it a link, and without any right on it. Elsewhere than on Linux there is no
# such thing, and no link is followed.
ENTRY: Final[int] = getattr(os, "O_PATH", 0) | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO would otherwise hang until somebody writes to it.
READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class StrangersLinkError(Exception):
    """A link on the way belongs to neither root nor this user; its text is the link's name."""


def open_for_reading(path: Path) -> int:
    """Return a descriptor of a file, directory or whatever is there; judge it before use.

    Raises:
        StrangersLinkError: see there.
        OSError: it is not there, or may not be opened.
    """
    if not hasattr(os, "O_PATH"):
        return os.open(path, READING)
    absolute = path.absolute()
    left = deque(absolute.parts[1:])
    here = os.open(absolute.anchor, ENTRY | os.O_DIRECTORY)
    followed = 0
    try:
        while left:
            name = left.popleft()
            target = _link_target(name, here)
            if target is not None:
                followed += 1
                if followed > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                left.extendleft(reversed([part for part in target.split("/") if part]))
                if target.startswith("/"):
                    here = _instead(here, os.open("/", ENTRY | os.O_DIRECTORY))
            elif left:
                here = _instead(here, os.open(name, ENTRY | os.O_DIRECTORY, dir_fd=here))
            else:
                return os.open(name, READING, dir_fd=here)
        return os.open(".", READING, dir_fd=here)
    finally:
        os.close(here)


def _instead(old: int, new: int) -> int:
    os.close(old)
    return new


def _link_target(name: str, here: int) -> str | None:
    entry = os.open(name, ENTRY, dir_fd=here)
    try:
        status = os.fstat(entry)
        if not stat.S_ISLNK(status.st_mode):
            return None
        if status.st_uid not in {os.geteuid(), 0}:
            raise StrangersLinkError(name)
        # Of the descriptor, not of the name: readlinkat(2).
        return os.readlink("", dir_fd=entry)
    finally:
        os.close(entry)
