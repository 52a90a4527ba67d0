"""A keyring's file that may change while a process runs."""

from pathlib import Path
from time import monotonic
from typing import Final

from kmworker.crypto.keyring import Keyring
from kmworker.crypto.roots import Root

__all__ = ["KeyringFile"]

AGAIN_S: Final = 30.0
"""A root that is away is asked for a changed file this often: a process waits for its answer."""


class KeyringFile:
    """A keyring's file, followed while a process runs."""

    def __init__(self, path: Path, root: Root | None = None) -> None:
        self._path = path
        self._root = root
        self._seen: tuple[int, ...] = ()
        # What the root did not open, and when it is asked again.
        self._unopened: tuple[int, ...] = ()
        self._again_at = 0.0

    def load(self) -> Keyring:
        """Read and check the file; raises as `Keyring.load` does."""
        # Before it is read: what is written meanwhile is read the next time.
        seen = self._now()
        # A root's answer is waited for; whether it is good or not, soon it will be the same.
        self._unopened, self._again_at = seen, monotonic() + AGAIN_S
        loaded = Keyring.load(self._path, self._root)
        self._seen = seen
        return loaded

    def changed(self) -> Keyring | None:
        """Return the keyring if the file is another than was read last; raises as `load` does."""
        now = self._now()
        if now == self._seen:
            return None
        if self._root is not None and now == self._unopened and monotonic() < self._again_at:
            return None
        return self.load()

    def _now(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
