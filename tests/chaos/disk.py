"""A disk of a store's own, which can be full.

Root gets a file system in memory that shrinks to what is in it. Anybody else's store gets a
limit on the size of its files: its writes fail in the same place, with another number.
"""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from tests.kit.servers import Server

ROOMY: Final = "1g"
# The store goes on writing while the disk shrinks.
SLACK_BYTES: Final = 16 * 1024
TRIES: Final = 100


class Disk(Protocol):
    """Where a store keeps its data."""

    def fill(self, server: Server) -> None:
        """Leave next to no room for what the server writes."""
        ...

    def relieve(self) -> None:
        """Make room again; a server that has ended may then be started."""
        ...


class MountedDisk:
    """A file system in memory, mounted on the store's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fill(self, server: Server) -> None:
        """Shrink it to what it holds."""
        del server  # whoever writes there
        for _ in range(TRIES):
            found = os.statvfs(self._folder)
            used_bytes = (found.f_blocks - found.f_bfree) * found.f_frsize
            if self._resized(str(used_bytes + SLACK_BYTES)):
                return
        raise AssertionError(f"{self._folder} cannot be shrunk")

    def relieve(self) -> None:
        """Let it grow again."""
        assert self._resized(ROOMY)

    def _resized(self, size: str) -> bool:
        command = ["mount", "-o", f"remount,size={size}", str(self._folder)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0


class LimitedFiles:
    """No file of the server's may become larger than its largest is now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fill(self, server: Server) -> None:
        """Set the limit on the running process."""
        largest = max(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
        limits = (largest + SLACK_BYTES, resource.RLIM_INFINITY)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)

    def relieve(self) -> None:
        """Do nothing: the next process has no such limit."""


@contextmanager
def disk_at(folder: Path, *, mounted: bool | None = None) -> Iterator[Disk]:
    """Provide a disk for the folder; mounted where we may mount, unless told."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", str(folder)]
    if mounted is None:
        mounted = os.geteuid() == 0
    if not mounted or subprocess.run(mount, check=False, capture_output=True).returncode:
        yield LimitedFiles(folder)
        return
    try:
        yield MountedDisk(folder)
    finally:
        # Lazily: a process that has just been killed may hold it for a moment.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
